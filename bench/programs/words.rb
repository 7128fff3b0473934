# SPDX-License-Identifier: MIT
# words.rb - hashes, strings and arrays; prints a checksum.
table = Hash.new { |hash, key| hash[key] = [] }
120_000.times { |i| table["key#{i * 7919 % 20_011}"] << (i.to_s * (i % 7)) }
lines = table.keys.sort.map { |key| "#{key}:#{table[key].join(',')}" }
table.delete_if { |key, _| key.sum.even? }
again = lines.map { |line| line.split(':', 2).last.to_s.split(',').map(&:upcase) }
puts "#{lines.sum(&:length)} #{table.size} #{again.sum(&:length)}"
