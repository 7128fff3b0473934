#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_atomics.py [--write] - every atomic operation has an order and a reason.

A relaxed operation has a comment "relaxed: <why no ordering is needed>"; "relaxed (all):" says that
it is meant for the operations of the whole paragraph. Any other has a comment
"order: <kind> [LABEL-1] <what it publishes or makes readable>". The comment stands on the line, or
above it with nothing but code of the same paragraph between. Each label has a releasing and an
acquiring side, and a line "LABEL-1  ..." in a "Memory ordering" table in the header block of a
file. Only base/atomic.h spells C11 or compiler atomics.

docs/memory-ordering.md is all those tables; --write renews it, without it the file is compared.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPERATION = re.compile(
    r"\bhh_(?:load|store|exchange|fetch_[a-z]+|cas_strong|cas_weak)_"
    r"(relaxed|acquire|release|acq_rel|seq_cst)\b"
)
BARE = re.compile(
    r"\b(?:atomic_(?:load|store|exchange|compare|fetch|thread_fence|signal_fence)\w*|__atomic_\w+|"
    r"__sync_\w+|memory_order_\w+)\b"
)
LABEL = re.compile(r"\[([A-Z]{2,6}-[0-9]+)\]")
TABLE_ROW = re.compile(r"^ \*\s+([A-Z]{2,6}-[0-9]+)\s+(\S.*)$")
PARAGRAPH_LINES = 24  # how far above an operation its reason may stand
# What an operation of an order is too, and may say of itself in its comment.
IMPLIED = {
    "acquire": {"acquire"},
    "release": {"release"},
    "acq_rel": {"acq_rel", "acquire", "release"},
    "seq_cst": {"seq_cst", "acq_rel", "acquire", "release"},
}
RELEASING = {"release", "acq_rel", "seq_cst"}
ACQUIRING = {"acquire", "acq_rel", "seq_cst"}


def split_comments(text):
    """Per line: (code without comments, text of comments)."""
    lines, in_block = [], False
    for line in text.splitlines():
        code, comment, rest = "", "", line
        while rest:
            if in_block:
                end = rest.find("*/")
                if end < 0:
                    comment, rest = comment + rest, ""
                else:
                    comment, rest, in_block = comment + rest[:end], rest[end + 2 :], False
                continue
            match = re.search(r'"(?:\\.|[^"\\])*"|//|/\*', rest)
            if not match:
                code, rest = code + rest, ""
            elif match.group(0) == "//":
                code, comment, rest = code + rest[: match.start()], comment + rest[match.end() :], ""
            elif match.group(0) == "/*":
                code, rest, in_block = code + rest[: match.start()], rest[match.end() :], True
            else:
                code, rest = code + rest[: match.end()], rest[match.end() :]
        lines.append((code, comment))
    return lines


def reason_of(lines, index):
    """The comments of the paragraph that ends with line index."""
    found = [lines[index][1]]
    for above in range(index - 1, max(-1, index - PARAGRAPH_LINES), -1):
        code, comment = lines[above]
        if not code.strip() and not comment.strip():
            break
        found.insert(0, comment)
        if code.startswith("}"):
            break
    return "\n".join(found)


def check_operations(path, lines, sides, errors):
    for index, (code, _) in enumerate(lines):
        where = f"{path.relative_to(ROOT)}:{index + 1}"
        if BARE.search(code):
            errors.append(f"{where}: bare atomic, use base/atomic.h: {code.strip()}")
        for match in OPERATION.finditer(code):
            order, reason = match.group(1), reason_of(lines, index)
            if order == "relaxed":
                if not re.search(r"\brelaxed(?: \([^)]*\))?:", reason):
                    errors.append(f"{where}: {match.group(0)} has no comment 'relaxed: why'")
                continue
            # "order: release ..." and "order: seq_cst, acquire: ..."
            pairs = re.findall(r"\b([a-z_]+)((?:,?\s+\[[A-Z]{2,6}-[0-9]+\])+)", reason)
            named = [(label, kind) for kind, found in pairs for label in LABEL.findall(found)]
            if "order:" not in reason or order not in [kind for _, kind in named]:
                errors.append(f"{where}: {match.group(0)} has no comment 'order: {order} [LABEL-n]'")
            for label, kind in named:
                if kind in IMPLIED[order]:
                    sides.setdefault(label, {"at": where, "orders": set()})["orders"].add(kind)


def check_tables(path, text, tables, errors):
    """Collect label -> description from the Memory ordering part of a header block."""
    inside, label = False, None
    for line in text.splitlines():
        if re.match(r"^ \* Memory ordering", line):
            inside = True
            continue
        if not inside:
            continue
        row = TABLE_ROW.match(line)
        if row:
            label = row.group(1)
            if label in tables:
                errors.append(f"{path.relative_to(ROOT)}: {label} is listed in {tables[label][0]} too")
            tables[label] = (path.relative_to(ROOT).as_posix(), row.group(2).strip())
        elif re.match(r"^ \*\s{5,}\S", line) and label:
            tables[label] = (tables[label][0], f"{tables[label][1]} {line[2:].strip()}")
        elif re.match(r"^ \*/|^ \* \S", line):
            inside, label = False, None


def check_labels(sides, tables, errors):
    for label, side in sorted(sides.items()):
        if label not in tables:
            errors.append(f"{side['at']}: {label} is in no Memory ordering table")
        if not side["orders"] & RELEASING or not side["orders"] & ACQUIRING:
            errors.append(f"{side['at']}: {label} has one side only ({', '.join(side['orders'])})")
    for label, (place, _) in sorted(tables.items()):
        if label not in sides:
            errors.append(f"{place}: {label} is listed but no operation names it")


def document(tables):
    text = [
        "<!-- SPDX-License-Identifier: MIT -->",
        "# Memory ordering",
        "",
        "Every ordering between threads that hostheap relies on, by label. The label stands at each",
        "operation that takes part. Generated from the header blocks in `src/` by",
        "`scripts/check_atomics.py --write`.",
        "",
        "| label | file | writer -> reader: what is published |",
        "|---|---|---|",
    ]
    key = lambda item: (item[1][0], item[0].split("-")[0], int(item[0].split("-")[1]))
    for label, (place, words) in sorted(tables.items(), key=key):
        text.append(f"| {label} | `{place}` | {words.replace('|', chr(92) + '|')} |")
    return "\n".join(text) + "\n"


def main():
    errors, sides, tables, count = [], {}, {}, 0
    for path in sorted((ROOT / "src").rglob("*.[ch]")):
        if path.relative_to(ROOT).as_posix() == "src/base/atomic.h":
            continue
        count += 1
        text = path.read_text()
        check_operations(path, split_comments(text), sides, errors)
        check_tables(path, text, tables, errors)
    check_labels(sides, tables, errors)
    table_file = ROOT / "docs" / "memory-ordering.md"
    if "--write" in sys.argv[1:]:
        table_file.write_text(document(tables))
    elif not table_file.exists() or table_file.read_text() != document(tables):
        errors.append("docs/memory-ordering.md is stale: scripts/check_atomics.py --write")
    for error in errors:
        print(error)
    return 1 if errors or not count else 0


if __name__ == "__main__":
    sys.exit(main())
