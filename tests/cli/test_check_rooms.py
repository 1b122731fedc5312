# SPDX-License-Identifier: Apache-2.0
"""scripts/check_rooms.py: each line that reaches into a room that its own does not know is named, and each circle."""

import shutil
import sys
import tempfile
import unittest
from pathlib import Path

from program import ROOT, Run, run_program

HOUSE = {
    "kernels/add.cu": '#include "kernels/add.h"\n',
    "kernels/add.h": "#include <cuda_fp16.h>\n",
    "sharding/CMakeLists.txt": "room(files)\nroom(ranks files pytorch)  # of several processes\n",
    "sharding/files/error.h": "#include <string>\n",
    "sharding/ranks/rank.h": '#include <ATen/core/Tensor.h>\n\n#include "sharding/files/error.h"\n',
    "calibrate/CMakeLists.txt": "room(output files)\nroom(command kernels output)\n",
    "calibrate/output/folder.cpp": '#include "calibrate/output/folder.h"\n#include "sharding/files/error.h"\n',
    "calibrate/output/folder.h": "",
    "calibrate/command/options.h": '#include "calibrate/output/folder.h"\n',
    "calibrate/main.cpp": '#include "calibrate/command/options.h"\n#include "kernels/add.h"\n',
}


class CheckRooms(unittest.TestCase):
    def setUp(self):
        self.house = Path(tempfile.mkdtemp(prefix="kvcalib-test-"))
        self.addCleanup(shutil.rmtree, self.house)
        for name, text in HOUSE.items():
            self.write(name, text)

    def write(self, name: str, text: str):
        (self.house / name).parent.mkdir(parents=True, exist_ok=True)
        (self.house / name).write_text(text)

    def check(self) -> Run:
        return run_program(Path(sys.executable), ROOT / "scripts/check_rooms.py", self.house)

    def refuses(self, *faults: str):
        done = self.check()
        self.assertEqual(done.code, 1)
        self.assertEqual(done.err.splitlines(), list(faults))

    def test_nothing_is_said_where_rooms_include_what_they_know(self):
        done = self.check()
        self.assertEqual((done.code, done.out + done.err), (0, ""))

    def test_an_include_upwards_is_named(self):
        self.write("sharding/files/bytes.h", '#include <string>\n#include "calibrate/output/folder.h"\n')
        self.refuses("sharding/files/bytes.h:2: files does not know output: calibrate/output/folder.h")

    def test_a_room_that_stands_below_is_known_only_when_named(self):
        self.write("calibrate/output/folder.h", '#include "sharding/ranks/rank.h"\n')
        self.refuses("calibrate/output/folder.h:1: output does not know ranks: sharding/ranks/rank.h")

    def test_kernels_know_nobody_and_pytorch_is_known_only_when_named(self):
        self.write("kernels/add.cu", "#include <c10/util/Half.h>\n# include <sharding/files/error.h>\n")
        self.refuses("kernels/add.cu:1: kernels does not know pytorch: c10/util/Half.h",
                     "kernels/add.cu:2: kernels does not know files: sharding/files/error.h")

    def test_the_program_knows_what_its_commands_know(self):
        self.write("calibrate/main.cpp", '#include "kernels/add.h"\n#include "sharding/ranks/rank.h"\n')
        self.refuses("calibrate/main.cpp:2: command does not know ranks: sharding/ranks/rank.h")

    def test_a_room_cannot_know_one_that_is_declared_later(self):
        self.write("sharding/CMakeLists.txt", "room(files ranks)\nroom(ranks files pytorch)\n")
        self.write("sharding/files/bytes.h", '#include "sharding/ranks/rank.h"\n')
        self.refuses("sharding/CMakeLists.txt:1: files knows ranks, which is not declared before it")

    def test_a_room_that_knows_another_for_nothing_is_named(self):
        self.write("sharding/ranks/rank.h", '#include "sharding/files/error.h"\n')
        self.refuses("ranks includes nothing of pytorch, which it says to know")

    def test_a_folder_without_a_row_is_named(self):
        self.write("calibrate/attic/box.h", "")
        self.refuses("calibrate/attic/box.h: no CMakeLists.txt has a line room(attic ...)")

    def test_units_that_include_each_other_are_named_once(self):
        self.write("calibrate/output/lock.h", "")
        self.write("calibrate/output/lock.cpp", '#include "calibrate/output/lock.h"\n#include "calibrate/output/place.h"\n')
        self.write("calibrate/output/place.h", '#include "calibrate/output/folder.h"\n')
        self.write("calibrate/output/folder.h", '#include "calibrate/output/lock.h"\n')
        self.refuses("calibrate/output/folder -> calibrate/output/lock -> calibrate/output/place -> calibrate/output/folder: "
                     "they include each other")

    def test_each_circle_is_named(self):
        for one, other in (("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")):
            self.write(f"sharding/files/{one}.h", f'#include "sharding/files/{other}.h"\n')
        self.refuses(*(f"sharding/files/{one} -> sharding/files/{other} -> sharding/files/{one}: they include each other"
                       for one, other in (("a", "b"), ("c", "d"))))

    def test_a_unit_may_be_reached_by_several_ways(self):
        self.write("calibrate/output/place.h", '#include "calibrate/output/folder.h"\n')
        self.write("calibrate/command/options.h",
                   '#include "calibrate/output/folder.h"\n#include "calibrate/output/place.h"\n')
        done = self.check()
        self.assertEqual((done.code, done.err), (0, ""))

    def test_the_house_itself_is_looked_at(self):
        for top in ("kernels", "sharding", "calibrate"):
            shutil.rmtree(self.house / top)
            shutil.copytree(ROOT / top, self.house / top)
        before = set(self.check().err.splitlines())
        planted = self.house / "sharding/files/error.h"
        planted.write_text(planted.read_text() + '#include "calibrate/command/options.h"\n')
        found = set(self.check().err.splitlines()) - before
        self.assertEqual(len(found), 2, found)
        circle, arrow = sorted(found)
        self.assertRegex(arrow, r"^sharding/files/error\.h:\d+: files does not know command: ")
        self.assertRegex(circle, r"-> sharding/files/error -> .*: they include each other$")


if __name__ == "__main__":
    unittest.main()
