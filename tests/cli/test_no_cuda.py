# SPDX-License-Identifier: Apache-2.0
"""A program built without CUDA: it takes the CPU by itself, and says what GPUs would need."""

import json
import unittest

from program import TINY, ProgramTest, kvcalib


class NoCuda(ProgramTest):
    def test_a_gpu_is_refused_with_the_way_to_a_program_that_uses_it(self):
        for devices in ("gpu", "gpu:2", "0"):
            with self.subTest(devices=devices):
                output = self.folder / "output"
                run = kvcalib("calibrate", "--weights", TINY / "weights", "--data", TINY / "text.jsonl", "--output",
                              output, "--devices", devices)
                self.assertEqual((run.code, run.out), (1, ""))
                self.assertIn(f"--devices '{devices}': this program was built without CUDA", run.err)
                self.assertIn("scripts/setup.sh --cuda", run.err)
                self.assertFalse(output.exists())

    def test_the_cpu_is_taken_where_nothing_is_asked_for(self):
        run = self.succeed("calibrate", "--weights", TINY / "weights", "--data", TINY / "text.jsonl", "--samples", 2,
                           "--length", 64, "--output", self.folder / "output", "--json", "--quiet")
        self.assertEqual(json.loads(run.out)["cost"]["devices"], "cpu")

    def test_what_gpus_would_hold_is_told_all_the_same(self):
        run = self.succeed("calibrate", "--weights", TINY.parent / "internlm-104b.json", "--dry-run", "--devices",
                           "gpu:8", "--json")
        self.assertEqual(len(json.loads(run.out)["devices"].split(", ")), 8)


if __name__ == "__main__":
    unittest.main()
