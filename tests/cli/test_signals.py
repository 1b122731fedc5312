# SPDX-License-Identifier: Apache-2.0
"""Runs that are told to end: they take back what they have begun and leave by that signal, or say what is in force."""

import os
import resource
import signal
import subprocess
import unittest
from collections.abc import Callable
from pathlib import Path

from faults import Fault, Server
from program import TINY, ProgramTest, digests, scales, shape_options, start, start_stepped, stops

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Signals(ProgramTest):
    def setUp(self):
        super().setUp()
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

    def export(self, *place) -> list:
        return ["export", "--stats", self.calibrated() / "kv_stats.safetensors", *place]

    def strike(self, process: subprocess.Popen, number: int, at: Callable[[], bool]) -> str:
        """Sends a signal at the first stop at which `at` holds. Returns what the run said on stderr."""
        struck = False
        for _ in stops(process):
            if not struck and at():
                process.send_signal(number)
                struck = True
        out, err = process.communicate()
        self.assertTrue(struck, "the run ended before it could be told to")
        self.assertEqual(process.returncode, -number, err)
        return err

    def test_take_back_what_was_written(self):
        weights, output = self.tiny(), self.folder / "output"
        before = digests(self.folder)
        places = ((("--weights", weights, "--in-place"), weights / ".kvcalib-transaction/next", "are as they were"),
                  (("--weights", weights, "--output", output), self.folder / ".output.kvcalib-partial",
                   "nothing was written"))
        for place, staged, words in places:
            for number in SIGNALS:
                err = self.strike(start_stepped(self.folder, *self.export(*place)), number,
                                  lambda: staged.is_dir() and len(list(staged.iterdir())) > 3)
                self.assertIn(f"kvcalib: stopped by signal {int(number)} ", err)
                self.assertIn(words, err)
                self.assertEqual(digests(self.folder), before)

    def test_wait_for_a_commit_that_has_begun(self):
        weights = self.tiny()
        err = self.strike(start_stepped(weights, *self.export("--weights", weights, "--in-place")), signal.SIGTERM,
                          lambda: (weights / "config.ini").is_symlink())
        self.assertIn("the new KV scale files and config.ini are in force all the same", err)
        self.assertEqual(scales(weights), scales(self.calibrated()))
        self.assertFalse([name for name, content in digests(weights).items()
                          if name.startswith(".") or content.startswith("link")])
        self.succeed("verify", weights)

    def test_end_a_run_that_computes(self):
        ids = self.windows(3, count=64, length=1024)
        before = digests(self.folder)
        process = start("calibrate", "--weights", TINY / "weights", "--data", ids, *shape_options(ids), "--devices",
                        "cpu", "--output", self.folder / "output")
        self.addCleanup(process.kill)
        while not (line := process.stderr.readline()).startswith("layer 1 "):
            self.assertTrue(line, "the run ended before its first layer")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
        self.assertEqual((process.returncode, out), (-signal.SIGTERM, ""), err)
        self.assertIn("nothing was written", err)
        self.assertEqual(digests(self.folder), before)


class BehindTheCommit(ProgramTest):
    """Failures of what follows the delivery of the results."""

    def arguments(self, weights: Path, traces: Path) -> list:
        ids = self.windows(1)
        return ["calibrate", "--weights", weights, "--data", ids, *shape_options(ids), "--devices", "cpu", "--quiet",
                "--in-place", "--trace", traces / "trace.json"]

    def assert_in_force(self, weights: Path, message: str, traces: Path):
        self.assertIn(f"{weights}: the new KV scale files and config.ini are in force all the same", message)
        self.assertEqual(scales(weights), scales(self.calibrated()))
        self.assertEqual(list(traces.iterdir()), [])
        self.succeed("verify", weights)

    def test_say_that_the_scales_are_in_force(self):
        weights, traces = self.tiny(), self.folder / "traces"
        traces.mkdir()
        server = Server(traces, self.folder / "log")
        self.addCleanup(server.close)
        done = server.run(self.arguments(weights, traces), Fault("write", 1, "ENOSPC"))
        self.assertEqual((done.code, done.reached), (1, True), done.message)
        self.assertIn("cannot be written: No space left on device", done.message)
        self.assert_in_force(weights, done.message, traces)

    def test_do_so_of_a_run_that_leaves_by_a_signal(self):
        weights, traces = self.tiny(), self.folder / "traces"
        traces.mkdir()
        process, struck = start_stepped(traces, *self.arguments(weights, traces)), False
        for _ in stops(process):
            if not struck:
                os.kill(process.pid, signal.SIGTERM)
            struck = True
        _, message = process.communicate()
        self.assertEqual(process.returncode, -signal.SIGTERM, message)
        self.assert_in_force(weights, message, traces)


if __name__ == "__main__":
    unittest.main()
