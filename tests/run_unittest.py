# SPDX-License-Identifier: Apache-2.0
"""run_unittest.py FILE: runs a unittest file for ctest. Exits with 77 when every test was skipped, and with 1 when a
test failed or the file has none."""

import sys
import unittest
from pathlib import Path

ALL_SKIPPED = 77


class Result(unittest.TextTestResult):
    """A result that also counts the tests and subtests that passed."""

    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        self.passed += err is None


file = Path(sys.argv[1]).resolve()
suite = unittest.defaultTestLoader.discover(str(file.parent), pattern=file.name, top_level_dir=str(file.parent))
result = unittest.TextTestRunner(verbosity=2, resultclass=Result).run(suite)
for test, reason in result.skipped:
    print(f"skipped: {test}: {reason}")
if not result.wasSuccessful():
    sys.exit(1)
if not result.passed:
    sys.exit(ALL_SKIPPED if result.skipped else "no test ran")
