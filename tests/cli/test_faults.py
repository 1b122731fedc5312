# SPDX-License-Identifier: Apache-2.0
"""System calls that fail, one in a run: a sample of what scripts/check_faults.sh tries whole."""

import unittest

from faults import SCENARIOS, inject_all
from program import ProgramTest

EVERY = 23  # prime to the number of errors that a call may have, so that each of them has its turn
WORKERS = 2


class FailingCalls(ProgramTest):
    def test_leave_the_old_files_or_the_new_ones_and_an_honest_exit_code(self):
        report = inject_all(list(SCENARIOS), EVERY, WORKERS)
        self.assertEqual(report.violations, [])
        totals = report.totals()
        self.assertGreater(totals["failed cleanly"], 150, totals)
        self.assertGreater(totals["survived"], 50, totals)
        self.assertLess(totals["not reached"], totals["injected"] // 20, totals)


if __name__ == "__main__":
    unittest.main()
