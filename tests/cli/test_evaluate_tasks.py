# SPDX-License-Identifier: Apache-2.0
"""`kvcalib evaluate --tasks` over the public data sets, as scripts/make_tasks.py makes their rows."""

import json
import subprocess
import sys
import unittest

from evaluation import EvaluationTest, read_report, streams_of
from program import ROOT, SHARED

ITEMS = 20
ROWS = ("AX_b AX_g BoolQ CB COPA MultiRC RTE WSC WiC afqmc-dev bustm-dev bustm-test chid-dev chid-test cluewsc-dev "
        "cluewsc-test crows_pairs eprstmt-dev eprstmt-test openbookqa piqa winogrande winogrande-ll").split()


class PublicTasks(EvaluationTest):
    def test_every_row(self):
        source = SHARED / "eval"
        if not source.exists():
            self.skipTest(f"{source} is not there")
        tasks = self.folder / "tasks"
        subprocess.run([sys.executable, ROOT / "scripts/make_tasks.py", "--data", source, "--output", tasks, "--task",
                        *ROWS, "--limit", str(ITEMS)], check=True, capture_output=True)
        files = [tasks / f"{row}.jsonl" for row in ROWS]
        run = self.evaluate("--tasks", *files, *streams_of(self.right_scales), "--limit", ITEMS, "--output",
                            self.folder / "report")
        self.assertEqual(run.code, 0, run.err)
        report = read_report(self.folder / "report")
        self.assertTrue(report["control_is_zero"])
        self.assertEqual({row["task"]: row["n"] for row in report["tasks"]}, dict.fromkeys(ROWS, ITEMS))
        for row in report["tasks"]:
            fp16, int8 = row["streams"]
            self.assertEqual((fp16["diff"], fp16["lost"], fp16["gained"], fp16["p"]), (0, 0, 0, 1))
            self.assertAlmostEqual(int8["score"] - fp16["score"], int8["diff"])
            self.assertAlmostEqual(int8["diff"], 100 * (int8["gained"] - int8["lost"]) / ITEMS)
        self.assertIn("at chance", run.out)  # of this small model
        items = [json.loads(line) for line in (self.folder / "report/items.jsonl").read_text().splitlines()]
        self.assertEqual(len(items), ITEMS * len(ROWS))


if __name__ == "__main__":
    unittest.main()
