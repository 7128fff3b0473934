-- SPDX-License-Identifier: MIT
-- words.lua - tables of strings, built, sorted and partly dropped; prints a checksum.
local list = {}
for i = 1, 60000 do
    list[i] = string.format("%d:%s", (i * 7919) % 60013, string.rep("x", i % 40))
end
table.sort(list)
local index = {}
for i, value in ipairs(list) do
    index[value] = { i, value .. i }
end
local sum = 0
for round = 1, 3 do
    for i = 1, 60000, 2 do
        index[list[i]] = nil
    end
    for i = 1, 60000, 2 do
        index[list[i]] = { round, list[i]:upper() }
    end
    collectgarbage()
end
for i = 1, 60000, 7 do
    sum = (sum * 31 + #index[list[i]][2]) % 1000003
end
print(#list, sum)
