#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_contract.py [--write] - every rule of docs/contract.md is held by a test, and the reverse.

A test cites the rules it holds in the comment above its function or in its body, or in a helper or
table that it uses: FR-1, VQ-3, "8.2 row 5" (a row of a table of conditions), "example 4" (of section
8.7), "16.3" (a clarification) or SEC-10, with or without brackets. A citation in the comment at the
head of a file holds for the whole file. DECISION 28 (or D28) may be cited but is no rule.

Each table row of docs/contract.md is a rule: | id | rule | tests |. The last column is written by
--write from the citations. Fails when a rule has no test, a test of tests/contract or tests/misuse
cites no rule, a citation names no rule, or the column is stale.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "contract.md"
FAMILIES = "ABI|COM|GEN|AL|DA|FR|CM|PG|VA|VF|PR|VQ|FM|ML|NO|AS|SEC"
CITATION = re.compile(
    rf"\b((?:{FAMILIES})-[0-9]+)(?:\.\.([0-9]+)\b|\b)|\b(8\.[2-5] row [0-9]+)\b|\b([Ee]xamples? [0-9]+(?:, [0-9]+)*)\b"
    r"|(?<![0-9.])(16\.[0-9]+)\b|\b(?:DECISION |D)([0-9]+)\b"
)
RULE_ROW = re.compile(r"^\| ([^|]+?) \| (.+?) \| ?(.*?) ?\|$")
# A function or a table at the left margin, and where it ends.
CHUNK = re.compile(r"^(?:\w[^\n;={]*\n(\w+)\(|(?:static|const|struct)[^\n;(]*?(\w+)\[[^\n]*\] = )", re.M)
REGISTERED = re.compile(r"\b(?:cmocka_unit_test\w*|TEST)\(\s*(\w+)")
FOLDERS = ("contract", "misuse")
DECISIONS = 45
SHOWN = 3  # tests named in a row


def citations(text):
    """Rule ids in a text; decisions are checked for their number and left out."""
    found, wrong = set(), set()
    for match in CITATION.finditer(text):
        rule, last, row, examples, clarification, decision = match.groups()
        if last:
            family, first = rule.split("-")
            found |= {f"{family}-{n}" for n in range(int(first), int(last) + 1)}
        elif examples:
            found |= {f"example {n}" for n in re.findall(r"[0-9]+", examples)}
        elif decision:
            if not 1 <= int(decision) <= DECISIONS:
                wrong.add(match.group(0))
        else:
            found.add(rule or row or clarification)
    return found, wrong


def chunks_of(text):
    """Name -> text of each function and table, with the comment above it."""
    chunks = {}
    for match in CHUNK.finditer(text):
        lines = text[: match.start()].split("\n")[:-1]
        first = len(lines)
        while first > 0 and re.match(r"\s*(//|/\*|\*)", lines[first - 1]):
            first -= 1
        above = "\n".join(lines[first:])
        # At a brace at the left margin, or on the same line if that ends with a semicolon.
        end = re.compile(r"[^\n]*;$|^\}", re.M).match(text, match.end()) if match.group(2) else None
        end = end or re.compile(r"^\}", re.M).search(text, match.end())
        body = text[match.start() : end.end() if end else len(text)]
        chunks[match.group(1) or match.group(2)] = above + "\n" + body
    return chunks


def with_used(name, chunks, seen):
    """The text of a chunk and of the chunks it uses."""
    seen.add(name)
    text = chunks[name]
    for other in re.findall(r"\w+", text):
        if other in chunks and other not in seen and other != "main":
            text += with_used(other, chunks, seen)
    return text


def tests_of(path):
    """Yields (name of test, text that may cite) for a file; the head's name is None."""
    text = path.read_text()
    head = re.match(r"(?://[^\n]*\n|/\*.*?\*/\n)+", text, re.S)
    yield None, head.group(0) if head else ""
    chunks = chunks_of(text)
    registered = [name for name in REGISTERED.findall(text) if name in chunks]
    for name in registered:
        yield name, with_used(name, chunks, set())
    if not registered:
        # A plain program, or C++: one test.
        yield path.stem, text


def collect(errors):
    """Rule -> names of tests that cite it."""
    held = {}
    for path in sorted((ROOT / "tests").rglob("*")):
        if path.suffix not in (".c", ".cc", ".cpp", ".cs", ".py"):
            continue
        place = path.relative_to(ROOT / "tests").as_posix()
        if place.startswith(("support/", "models/")):
            continue
        head_rules, uncited = set(), []
        for name, text in tests_of(path):
            rules, wrong = citations(text)
            errors += [f"tests/{place}: {w} is no decision" for w in sorted(wrong)]
            if name is None:
                head_rules = rules
            elif not rules:
                uncited.append(name)
            for rule in rules:
                held.setdefault(rule, set()).add(f"{place}: {name}" if name else place)
        if place.split("/")[0] in FOLDERS and not head_rules:
            errors += [f"tests/{place}: {name} cites no rule" for name in uncited]
    return held


def shown(tests):
    """Functions first, then whole files; a few of them."""
    named = sorted(t for t in tests if ":" in t) + sorted(t for t in tests if ":" not in t)
    text = "<br>".join(f"`{t}`" for t in named[:SHOWN])
    return text + (f"<br>and {len(named) - SHOWN} more" if len(named) > SHOWN else "")


def main():
    write = "--write" in sys.argv
    errors, lines, rules = [], [], set()
    held = collect(errors)
    for line in DOCUMENT.read_text().splitlines():
        match = RULE_ROW.match(line)
        if not match or not CITATION.fullmatch(match.group(1)):
            lines.append(line)
            continue
        rule, words, _ = match.groups()
        if rule in rules:
            errors.append(f"docs/contract.md: {rule} stands there twice")
        rules.add(rule)
        if rule not in held:
            errors.append(f"docs/contract.md: {rule} has no test")
        lines.append(f"| {rule} | {words} | {shown(held.get(rule, set()))} |")
    for rule in sorted(set(held) - rules):
        errors.append(f"{sorted(held[rule])[0]} cites {rule}, which is no rule of docs/contract.md")
    text = "\n".join(lines) + "\n"
    if write:
        DOCUMENT.write_text(text)
    elif text != DOCUMENT.read_text():
        errors.append("docs/contract.md is stale: scripts/check_contract.py --write")
    for error in errors:
        print(error)
    if len(rules) < 100:
        print(f"only {len(rules)} rules found in docs/contract.md")
        return 1
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
