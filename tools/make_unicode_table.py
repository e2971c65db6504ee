#!/usr/bin/env python3
"""Writes src/text/unicode_additions.inc: how the `tokenizers` package classifies code points that older Unicode
tables do not know, measured by running it over all code points.

usage: make_unicode_table.py > src/text/unicode_additions.inc     (Python 3.11, whose own tables are Unicode 14)
"""
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co").split()
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, POINTS))


def matching(pattern):
    splitter = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    return {ord(c) for piece, _ in splitter.pre_tokenize_str(TEXT) for c in piece}


def ranges(points, key=lambda c: None):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1 and out[-1][2] == key(c):
            out[-1][1] = c
        else:
            out.append([c, c, key(c)])
    return out


def single(form, text):
    return getattr(normalizers, form)().normalize_str(text)


def main():
    assert unicodedata.unidata_version == "14.0.0", "the base of the table is Unicode 14"
    category = {}
    for name in CATEGORIES:
        for c in matching(r"\p{%s}" % name):
            category[c] = name
    han = matching(r"\p{Han}")
    changed = [c for c, name in category.items() if unicodedata.category(chr(c)) != name]

    print("// Code points that Unicode 14 does not have and the reference tokenizer does (Unicode 16).")
    print("// Made by tools/make_unicode_table.py. SPDX-License-Identifier: Apache-2.0")
    print("constexpr Addition kAdditions[] = {")
    for first, last, (name, is_han) in ranges(changed, lambda c: (category[c], c in han)):
        print(f"    {{0x{first:X}, 0x{last:X}, Gc::k{'Han' if is_han and name == 'Lo' else name}}},")
    print("};")

    # Digits uses another, newer table than the regular expressions.
    digits = {ord(p) for p, _ in pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str(
        "".join(chr(c) + "a" for c in POINTS if chr(c) != "a")) if len(p) == 1 and p != "a"}
    numbers = {c for c, name in category.items() if name[0] == "N"}
    assert not numbers - digits
    print("\n// Numbers for the Digits step only (Unicode 17).")
    print("constexpr CodeRange kLateNumbers[] = {")
    for first, last, _ in ranges(digits - numbers):
        print(f"    {{0x{first:X}, 0x{last:X}}},")
    print("};")

    # Normalization uses an older table: these are inert in it.
    late = set()
    for c in POINTS:
        ch = chr(c)
        if unicodedata.combining(ch) > 1 and single("NFD", ch + "\u0334") == ch + "\u0334":
            late.add(c)
        if unicodedata.combining(ch) == 1 and single("NFD", "\u0323" + ch) == "\u0323" + ch:
            late.add(c)
        if single("NFKD", ch) != unicodedata.normalize("NFKD", ch):
            assert single("NFKD", ch) == ch, hex(c)
            late.add(c)
        parts = unicodedata.normalize("NFD", ch)
        if parts != ch and len(parts) == 2 and single("NFD", ch) == ch:
            late.update((c, ord(parts[1])))
    for c in changed:  # unknown to Python's table, so asked the other way round
        if category[c] in ("Mn", "Mc", "Me", "Lo", "Lm"):
            assert single("NFKD", chr(c)) == chr(c)
            assert single("NFD", chr(c) + "\u0334") == chr(c) + "\u0334"
            assert single("NFC", "\u0315" + chr(c)) == "\u0315" + chr(c)
            late.add(c)
    print("\n// Inert in normalization: no decomposition, no composition, combining class 0 (an old table).")
    print("constexpr CodeRange kInertInNormalization[] = {")
    for first, last, _ in ranges(late):
        print(f"    {{0x{first:X}, 0x{last:X}}},")
    print("};")


if __name__ == "__main__":
    main()
