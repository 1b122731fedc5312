# SPDX-License-Identifier: Apache-2.0
"""`evaluate --memory`: the memory of a rank in service, held on a GPU."""

import unittest

from program import ROOT, TINY, ProgramTest, kvcalib

PRESET = ROOT / "configs/llama-2-7b.json"


class EvaluateMemory(ProgramTest):
    def test_without_a_gpu_names_plan(self):
        for weights in (PRESET, TINY / "weights"):
            run = kvcalib("evaluate", "--weights", weights, "--memory", "--batch", "8", CUDA_VISIBLE_DEVICES="")
            self.assertEqual((run.code, run.out), (1, ""))
            self.assertRegex(run.err, "shows no GPU to measure on|built without CUDA")
            self.assertIn("kvcalib plan tells the memory without a GPU", run.err)

    def test_refuses_what_no_rank_holds(self):
        for arguments, message, code in (
            (("--devices", "cpu"), "--memory measures a GPU", 2),
            (("--copy",), "--copy has no part in --memory", 2),
            (("--session", "100", "--prompt", "101"), "longer than a session of 100", 2),
            (("--serving-tp", "7"), "7", 1),
            (("--runtime", "0.0.14", "--session", "8192"), "4096", 1),
        ):
            run = kvcalib("evaluate", "--weights", PRESET, "--memory", *arguments)
            self.assertEqual((run.code, run.out), (code, ""), arguments)
            self.assertIn(message, run.err)

    def test_a_preset_cannot_be_scored_but_measured(self):
        run = kvcalib("evaluate", "--weights", PRESET, "--copy")
        self.assertEqual((run.code, run.out), (2, ""))
        self.assertIn("--memory", run.err)


if __name__ == "__main__":
    unittest.main()
