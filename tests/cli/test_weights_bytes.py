# SPDX-License-Identifier: Apache-2.0
"""Weights that have the right size and the wrong bytes: cut off, or written to while they are read."""

import unittest
from pathlib import Path

from program import ProgramTest, kvcalib, start

FAILED = 1


class WeightsBytes(ProgramTest):
    def calibration(self, weights: Path, *arguments) -> list:
        return ["calibrate", "--weights", weights, "--data", self.windows(), "--samples", 4, "--length", 64, "--output",
                self.folder / "output", "--devices", "cpu", *arguments]

    def test_files_of_zeros_are_refused(self):
        for command in ("calibrate", "shard"):
            for name in ("layers.2.attention.w_qkv.1.weight", "layers.3.feed_forward.w2.0.weight",
                         "layers.0.ffn_norm.weight", "tok_embeddings.weight"):
                with self.subTest(command=command, name=name):
                    weights = self.tiny(f"{command}-{name}")
                    with open(weights / name, "r+b") as file:
                        size = file.seek(0, 2)
                        file.truncate(0)
                        file.truncate(size)
                    arguments = (self.calibration(weights, "--quiet") if command == "calibrate" else
                                 ["shard", "--weights", weights, "--tp", 1, "--output", self.folder / "output"])
                    run = kvcalib(*arguments)
                    self.assertEqual(run.code, FAILED, run.text)
                    self.assertIn(f"{name}: holds only zeros", run.err)
                    self.assertFalse((self.folder / "output").exists())

    def test_what_is_written_to_during_a_run_gives_no_result(self):
        weights, ids = self.deep(32), self.windows(3, count=16, length=256)
        for written in (weights / "layers.1.feed_forward.w1.1.weight", weights / "config.ini", ids):
            with self.subTest(written=written.name):
                process = start("calibrate", "--weights", weights, "--data", ids, "--samples", 16, "--length", 256,
                                "--output", self.folder / "output", "--devices", "cpu")
                self.addCleanup(process.kill)
                while not (line := process.stderr.readline()).startswith("layer 1 "):
                    self.assertNotEqual(line, "", "the run ended before its first layer")
                with open(written, "r+b") as file:
                    bytes_before = file.read(2)
                    file.seek(0)
                    file.write(bytes_before)
                out, err = process.communicate()
                self.assertEqual((process.returncode, out), (FAILED, ""), err)
                self.assertIn(f"{written}: was changed while it was read", err)
                self.assertFalse((self.folder / "output").exists())


if __name__ == "__main__":
    unittest.main()
