# SPDX-License-Identifier: Apache-2.0
"""scripts/bench.sh: the table it makes, what it says of rows that fail, and that nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from program import PROGRAM, ROOT, TINY, ProgramTest, Run, environment, run_program

sys.path.insert(0, str(ROOT / "scripts"))
from benchmark.session import write_ids
from benchmark.table import Goal, Row, markdown

SCRIPT = ROOT / "scripts/bench.py"


class Table(ProgramTest):
    def verdict(self, value: float, limit: float, **options) -> str:
        return Row("row", "what", Goal(limit, "x", **options), value).verdict()

    def test_a_goal_is_met_up_to_its_limit_and_missed_beyond(self):
        self.assertEqual([self.verdict(value, 1.25) for value in (1, 1.25, 1.26)], ["met", "met", "missed"])
        self.assertEqual([self.verdict(value, 1.25, at_least=True) for value in (1.24, 1.25, 2)],
                         ["missed", "met", "met"])

    def test_a_row_is_a_line_with_its_goal_and_verdict(self):
        rows = [Row("reading", "warm", Goal(0.9, "x", at_least=True), 0.954, "4.77 GB/s", "pread 5.00 GB/s"),
                Row("104b", "", skipped="20 GB are needed"), Row("7b", "", failed="kvcalib: exit code 1: a | b\nc")]
        lines = markdown({"device": "a CPU"}, {"reading": "5 GB/s"}, rows).splitlines()
        self.assertIn("* device: a CPU", lines)
        self.assertIn("* reading: 5 GB/s", lines)
        self.assertEqual(lines[-3:], [
            "| reading | warm | 4.77 GB/s | pread 5.00 GB/s | 0.95 x | at least 0.90 x | met |",
            "| 104b |  |  |  |  |  | skipped: 20 GB are needed |",
            "| 7b |  |  |  |  |  | failed: kvcalib: exit code 1: a \\| b c |"])

    def test_window_files_are_what_numpy_reads(self):
        file = self.folder / "ids.npy"
        write_ids(file, 3, 50, 11)
        ids = np.load(file)
        self.assertEqual((ids.dtype, ids.shape), (np.int32, (3, 50)))
        self.assertEqual((ids.min(), ids.max()), (0, 10))


class Bench(ProgramTest):
    def setUp(self):
        super().setUp()
        self.work, self.output = self.folder / "work", self.folder / "output"
        self.work.mkdir()
        self.arguments = ("--device", "cpu", "--quick", "--build", PROGRAM.parent, "--work", self.work, "--output",
                          self.output)

    def bench(self, *arguments) -> Run:
        return run_program(Path(sys.executable), SCRIPT, *self.arguments, *arguments)

    def rows(self) -> list[dict]:
        return json.loads((self.output / "bench.json").read_text())["rows"]

    def assert_nothing_left(self):
        self.assertEqual(list(self.work.iterdir()), [])

    def test_measures_the_rows_asked_for(self):
        run = self.bench("--rows", "start,layers,waiting", "--weights", TINY / "weights")
        self.assertEqual(run.code, 0, run.err)
        self.assertEqual(run.out, (self.output / "bench.md").read_text())
        self.assertEqual([row["name"] for row in self.rows()], ["start", "layers", "waiting"])
        for row in self.rows():
            self.assertIn(row["verdict"], ("met", "missed"), row)
        start, layers, waiting = self.rows()
        taken = start["details"]["first_layer_seconds"]
        self.assertTrue(0 < min(taken) <= max(taken) < 60, taken)
        cost, floor = layers["details"]["calibrations"][0], layers["details"]["others"][0]
        self.assertAlmostEqual(layers["value"], cost["layer_seconds"] / floor["needed_seconds"])
        self.assertAlmostEqual(waiting["value"], 100 * cost["waited_for_reader_seconds"] / cost["layer_seconds"])
        self.assert_nothing_left()

    def test_measures_reading_and_observing(self):
        for command, keys in (("read", ("bytes", "raw_gigabytes_per_second", "stream_of_possible")),
                              ("pass", ("bytes_read", "observed_seconds", "unobserved_seconds"))):
            windows = ("--windows", 2, "--length", 32) if command == "pass" else ("--cold",)
            weights = self.tiny(command)
            run = run_program(PROGRAM.parent / "bench_engine", command, "--weights", weights, "--repeat", 2, *windows)
            if "is on a RAM disk" in run.err:
                continue
            self.assertEqual(run.code, 0, run.err)
            found = json.loads(run.out)
            for key in keys:
                self.assertGreater(found[key], 0, key)
            layer_files = sum(file.stat().st_size for file in weights.glob("layers.*"))
            self.assertEqual(found[keys[0]], layer_files)

    def test_a_row_that_fails_says_why_and_the_others_go_on(self):
        weights = self.tiny()
        (weights / "layers.2.ffn_norm.weight").unlink()
        run = self.bench("--rows", "observer,start", "--weights", weights)
        self.assertEqual(run.code, 1, run.err)
        failed, start = self.rows()
        self.assertEqual(failed["verdict"], "failed")
        self.assertIn("layers.2.ffn_norm.weight", failed["reason"])
        self.assertIn(start["verdict"], ("met", "missed"))
        self.assert_nothing_left()

    def test_refuses_what_it_does_not_know(self):
        for arguments, words in ((("--rows", "startup"), "startup: expected of layers"),
                                 (("--work", self.folder / "nowhere"), "nowhere is not a folder")):
            run = self.bench(*arguments)
            self.assertEqual(run.code, 2, run.text)
            self.assertIn(words, run.err)

    def test_names_the_programs_that_are_not_built(self):
        run = self.bench("--build", self.folder)
        self.assertEqual(run.code, 1, run.text)
        self.assertIn("has no kvcalib, bench_engine, bench_empty_torch", run.err)

    def test_leaves_nothing_when_it_is_stopped(self):
        started, build = self.folder / "started", self.folder / "build"
        os.mkfifo(started)
        build.mkdir()
        for name in ("kvcalib", "bench_empty_torch"):
            (build / name).symlink_to(PROGRAM.parent / name)
        (build / "bench_engine").write_text(f"#!/bin/sh\necho started > '{started}'\nexec tail -f /dev/null\n")
        (build / "bench_engine").chmod(0o755)
        words = [sys.executable, SCRIPT, *self.arguments, "--build", build, "--rows", "observer", "--weights",
                 TINY / "weights"]
        process = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   stdin=subprocess.DEVNULL, env=environment())
        self.addCleanup(process.kill)
        self.assertEqual(started.read_text(), "started\n")  # waits until the program writes it
        self.assertNotEqual(list(self.work.iterdir()), [])
        os.kill(process.pid, signal.SIGTERM)
        self.assertEqual(process.wait(), 128 + signal.SIGTERM)
        self.assert_nothing_left()
