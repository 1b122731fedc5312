#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_rooms.py [ROOT]: holds every #include against what its room knows.

What a room knows stands in CMakeLists.txt, as room(NAME KNOWN...), from the bottom of the house to its top: no arrow goes
up. `pytorch` among the known allows PyTorch's headers. Names each line that reaches where it should not, and those that
are known for nothing; exit code 1."""

import re
import sys
from pathlib import Path, PurePosixPath

TOPS = ("kernels", "sharding", "calibrate")
SOURCES = (".cpp", ".h", ".cu", ".cuh")
PYTORCH = ("ATen", "c10", "torch")
DOOR = "command"  # the room of calibrate/main.cpp


def rooms_of(root: Path) -> tuple[dict[str, set[str]], list[str]]:
    """The rooms with what each knows, and the arrows upwards among them."""
    rooms, faults = {"kernels": set()}, []
    for top in TOPS[1:]:
        file = root / top / "CMakeLists.txt"
        for number, line in enumerate(file.read_text().splitlines(), 1):
            declared = re.match(r"room\(([^)]*)\)", line)
            if not declared:
                continue
            name, *known = declared[1].split()
            faults += [f"{top}/CMakeLists.txt:{number}: {name} knows {other}, which is not declared before it"
                       for other in known if other not in rooms and other != "pytorch"]
            rooms[name] = set(known)
    return rooms, faults


def room_of(path: str) -> str | None:
    """The room of a source or of an included header; none for what belongs to others."""
    parts = path.split("/")
    if parts[0] in PYTORCH:
        return "pytorch"
    if parts[0] not in TOPS:
        return None
    if parts[0] == "kernels":
        return "kernels"
    return parts[1] if len(parts) > 2 else DOOR


def includes_of(root: Path) -> dict[str, list[tuple[int, str]]]:
    """Of every source, by its name: the lines that include, with what."""
    includes = {}
    for file in sorted(file for top in TOPS for file in (root / top).rglob("*") if file.suffix in SOURCES):
        lines = enumerate(file.read_text().splitlines(), 1)
        found = ((number, re.match(r'\s*#\s*include\s*["<]([^">]+)[">]', line)) for number, line in lines)
        includes[str(file.relative_to(root))] = [(number, included[1]) for number, included in found if included]
    return includes


def arrows(includes: dict[str, list[tuple[int, str]]], rooms: dict[str, set[str]]) -> list[str]:
    faults, used = [], set()
    for name, lines in includes.items():
        room = room_of(name)
        if room not in rooms:
            faults.append(f"{name}: no CMakeLists.txt has a line room({room} ...)")
            continue
        for number, included in lines:
            other = room_of(included)
            used.add((room, other))
            if other not in (None, room) and other not in rooms[room]:
                faults.append(f"{name}:{number}: {room} does not know {other}: {included}")
    faults += [f"{room} includes nothing of {other}, which it says to know"
               for room, known in rooms.items() for other in sorted(known) if (room, other) not in used]
    return faults


def unit_of(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))


def shortest_circle(start: str, units: dict[str, set[str]]) -> list[str]:
    """The units on a shortest way from one back to itself; none where there is no way."""
    ways = [[start]]
    seen = set()
    for way in ways:  # which grows behind
        for unit in sorted(units[way[-1]]):
            if unit == start:
                return way
            if unit not in seen:
                seen.add(unit)
                ways.append([*way, unit])
    return []


def circles(includes: dict[str, list[tuple[int, str]]]) -> list[str]:
    units = {unit_of(name): set() for name in includes}
    for name, lines in includes.items():
        unit = unit_of(name)
        units[unit] |= {unit_of(included) for _, included in lines} & units.keys() - {unit}
    faults, named = [], set()
    for unit in units:
        circle = shortest_circle(unit, units)
        if circle and not named & set(circle):
            named |= set(circle)
            faults.append(f"{' -> '.join([*circle, unit])}: they include each other")
    return faults


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)
    rooms, faults = rooms_of(root)
    includes = includes_of(root)
    faults += arrows(includes, rooms) + circles(includes)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
