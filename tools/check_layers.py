#!/usr/bin/env python3
"""Fails when a source file includes a folder that is not above its own in docs/architecture.md's table."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def folder_order():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    order = [name for name in re.findall(r"^\| `([a-z]+)` \|", text, re.M)]
    present = sorted(p.name for p in (ROOT / "src").iterdir() if p.is_dir())
    if sorted(order) != present:
        sys.exit(f"docs/architecture.md lists {sorted(order)}, src/ holds {present}")
    return {name: rank for rank, name in enumerate(order)}


def main():
    rank = folder_order()
    faults = []
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix not in {".cpp", ".h"}:
            continue
        own = path.relative_to(ROOT / "src").parts[0]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = re.match(r'#include "([a-z]+)/', line)
            if match and match[1] in rank and rank[match[1]] > rank[own]:
                faults.append(f"{path.relative_to(ROOT)}:{number}: {own} must not include {match[1]}")
    print("\n".join(faults) or f"{len(rank)} folders, all includes point up")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
