# SPDX-License-Identifier: MIT
"""words.py - dictionaries, strings and JSON; prints a checksum."""
import json
import re
import zlib

table = {}
for i in range(60000):
    table.setdefault(f"key{i * 7919 % 20011}", []).append({"n": i, "s": str(i) * (i % 7)})
text = json.dumps(table, sort_keys=True)
again = json.loads(text)
keys = sorted(again, key=lambda key: (len(again[key]), key))
named = [re.sub(r"\d", lambda match: chr(65 + int(match.group())), key) for key in keys]
for key in keys[::2]:
    del again[key]
parts = [tuple(key.split("y")) for key in keys]
print(zlib.crc32(text.encode()), len(named), len(again), len(parts))
