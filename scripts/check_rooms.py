#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_rooms.py [ROOT]: holds every #include against what its room knows.

What a room knows stands in CMakeLists.txt, as room(NAME KNOWN...), from the bottom of the house to its top: no arrow goes
up. `pytorch` among the known allows PyTorch's headers. Names each line that reaches where it should not, and those that
are known for nothing; exit code 1."""

import re
import sys
from pathlib import Path

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


def arrows(root: Path, rooms: dict[str, set[str]]) -> list[str]:
    faults, used = [], set()
    files = sorted(file for top in TOPS for file in (root / top).rglob("*") if file.suffix in SOURCES)
    for file in files:
        name = str(file.relative_to(root))
        room = room_of(name)
        if room not in rooms:
            faults.append(f"{name}: no CMakeLists.txt has a line room({room} ...)")
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            included = re.match(r'\s*#\s*include\s*["<]([^">]+)[">]', line)
            other = room_of(included[1]) if included else None
            used.add((room, other))
            if other not in (None, room) and other not in rooms[room]:
                faults.append(f"{name}:{number}: {room} does not know {other}: {included[1]}")
    faults += [f"{room} includes nothing of {other}, which it says to know"
               for room, known in rooms.items() for other in sorted(known) if (room, other) not in used]
    return faults


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)
    rooms, faults = rooms_of(root)
    faults += arrows(root, rooms)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
