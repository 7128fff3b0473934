// SPDX-License-Identifier: MIT
// words.js - maps, strings, JSON and buffers; prints a checksum.
const table = new Map();
for (let i = 0; i < 120000; i++) {
    const key = "key" + ((i * 7919) % 20011);
    if (!table.has(key)) table.set(key, []);
    table.get(key).push(String(i).repeat(i % 7));
}
const text = JSON.stringify([...table]);
const again = JSON.parse(text);
let bytes = 0;
for (let i = 0; i < 20000; i++) bytes += Buffer.from(text.slice(i, i + 9000)).length;
console.log(text.length, again.length, bytes);
