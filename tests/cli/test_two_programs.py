# SPDX-License-Identifier: Apache-2.0
"""kvcalib does what computes nothing without PyTorch, and becomes kvcalib-compute for the rest."""

import os
import shutil
import subprocess
import unittest

from program import PROGRAM, TINY, ProgramTest, kvcalib, run_program


class TwoPrograms(ProgramTest):
    def libraries(self, program) -> str:
        """What the loader would load, which it does before all else."""
        return subprocess.run([program], env=os.environ | {"LD_TRACE_LOADED_OBJECTS": "1"}, capture_output=True,
                              text=True, check=True).stdout

    def test_pytorch_is_loaded_for_what_computes_alone(self):
        self.assertNotRegex(self.libraries(PROGRAM), "torch|cuda|cublas|nccl")
        self.assertIn("torch", self.libraries(PROGRAM.with_name("kvcalib-compute")))

    def test_alone_it_says_what_is_missing(self):
        output = self.calibrate(TINY / "weights", TINY / "text.jsonl", "--samples", 4)
        alone = shutil.copy(PROGRAM, self.folder / "kvcalib")
        for arguments in (("--help",), ("--version",), ("verify", output), ("inspect", output), ("verify", "--help"),
                          ("equalise", "--stats", output / "kv_stats.safetensors", "--weights", TINY / "weights",
                           "--output", self.folder / "even"),
                          ("export", "--stats", output / "kv_stats.safetensors", "--weights", TINY / "weights",
                           "--output", self.folder / "exported")):
            run = run_program(alone, *arguments)
            self.assertEqual(run.code, 0, run.err)
        for command in ("calibrate", "evaluate", "plan", "shard"):
            run = run_program(alone, command, "--help")
            self.assertEqual((run.code, run.out), (1, ""))
            self.assertIn("kvcalib-compute", run.err)
            self.assertIn("install both", run.err)

    def test_as_it_is_installed(self):
        """The other program is found from the one on the PATH, through a link, too."""
        for folder in ("bin", "libexec/kvcalib", "elsewhere"):
            (self.folder / folder).mkdir(parents=True)
        shutil.copy(PROGRAM, self.folder / "bin/kvcalib")
        (self.folder / "libexec/kvcalib/kvcalib-compute").symlink_to(PROGRAM.with_name("kvcalib-compute"))
        (self.folder / "elsewhere/kvcalib").symlink_to("../bin/kvcalib")
        for place in ("bin", "elsewhere"):
            run = run_program(self.folder / place / "kvcalib", "calibrate", "--dry-run", "--devices", "cpu", "--weights",
                              TINY / "weights")
            self.assertEqual(run.code, 0, run.err)
            self.assertIn("4 layers", run.out)

    def test_arguments_and_exit_codes_come_through(self):
        ranks = ("shard", "--weights", "w", "--output", "o", "--tp", "x y")
        for arguments, code, words in ((("calibrate",), 2, "--weights"), (ranks, 2, "'x y'"),
                                       (("plan", "--weights", self.folder / "a b"), 1, "a b"),
                                       (("verifi",), 2, "did you mean verify?")):
            run = kvcalib(*arguments)
            self.assertEqual(run.code, code, run.err)
            self.assertIn(words, run.err)
            self.assertTrue(run.err.startswith("kvcalib: error: "), run.err)


if __name__ == "__main__":
    unittest.main()
