#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make_unicode_tables.py: writes calibrate/evaluate/unicode_tables.h to stdout, the code points of the classes that
Python's str methods and regular expressions know, of the Unicode version of this Python."""

import sys
import unicodedata
from collections.abc import Callable

POINTS = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point <= 0xDFFF]


def is_cased(character: str) -> bool:
    """As the final sigma sees it: a cased letter before it, which no rule skips."""
    return (character + "Σ").lower().endswith("ς")


def is_skipped(character: str) -> bool:
    """What lies between a cased letter and the final sigma and is not looked at."""
    return not is_cased(character) and ("A" + character + "Σ").lower().endswith("ς")


CLASSES = {
    "kWords": (lambda character: character.isalnum() or character == "_", r"\w"),
    "kSpaces": (str.isspace, r"\s, str.isspace"),
    "kDigits": (str.isdigit, "str.isdigit"),
    "kCased": (is_cased, "before a final sigma"),
    "kSkipped": (is_skipped, "on the way to it"),
}


def ranges_of(is_in: Callable[[str], bool]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for point in map(ord, filter(is_in, POINTS)):
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1] = (ranges[-1][0], point)
        else:
            ranges.append((point, point))
    return ranges


def decimals() -> list[tuple[int, int]]:
    """Ranges of digits, the first of which is a zero and each the next number, beginning again behind 9."""
    ranges = ranges_of(str.isdecimal)
    for first, last in ranges:
        assert all(unicodedata.decimal(chr(point)) == (point - first) % 10 for point in range(first, last + 1))
    return ranges


def lower_runs() -> list[tuple[int, int, int, int]]:
    """First, last, step: letters that lie as far as the last number says before their small ones."""
    runs: list[list[int]] = []
    for character in POINTS:
        small = character.lower()
        if small == character or len(small) > 1 or character == "Σ":
            continue
        point, distance = ord(character), ord(small) - ord(character)
        run = runs[-1] if runs else None
        if run and run[3] == distance and point - run[1] <= 2 and run[2] in (0, point - run[1]):
            run[1:3] = [point, point - run[1]]
        else:
            runs.append([point, point, 0, distance])
    return [(first, last, step or 1, distance) for first, last, step, distance in runs]


def table(kind: str, name: str, entries: list[tuple], note: str) -> str:
    cells, lines = [f"{{{', '.join(map(str, entry))}}}," for entry in entries], [" "]
    for cell in cells:
        if len(lines[-1]) + 1 + len(cell) > 100:
            lines.append(" ")
        lines[-1] += " " + cell
    body = "\n".join(lines).removesuffix(",")
    return f"// {note}\nconstexpr {kind} {name}[] = {{\n{body}}};\n"


def main() -> None:
    tables = [table("PointRange", name, ranges_of(is_in), note) for name, (is_in, note) in CLASSES.items()]
    tables.append(table("PointRange", "kDecimals", decimals(), r"\d: from a zero on, ten after ten"))
    tables.append(table("LowerRun", "kLower", lower_runs(), "str.lower, but for the final sigma and U+0130"))
    print(f"""// SPDX-License-Identifier: Apache-2.0
// Written by scripts/make_unicode_tables.py of Unicode {unicodedata.unidata_version}.
#pragma once

#include <cstdint>

namespace kvcalib {{

struct PointRange {{
  char32_t first, last;
}};

// Every `step`-th letter from `first` to `last` lies `distance` before its small one.
struct LowerRun {{
  char32_t first, last;
  int32_t step, distance;
}};

// clang-format off
{chr(10).join(tables)}// clang-format on

}}  // namespace kvcalib""")


if __name__ == "__main__":
    main()
