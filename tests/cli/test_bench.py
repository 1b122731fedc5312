# SPDX-License-Identifier: Apache-2.0
"""scripts/bench.sh: the table it makes, what it says of rows that fail, and that nothing is left behind."""

import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np

from program import PROGRAM, ROOT, TINY, ProgramTest, Run, environment, run_program

sys.path.insert(0, str(ROOT / "scripts"))
from benchmark.evaluation import read_trace, run_and_watch
from benchmark.session import write_ids
from benchmark.shapes import Failure
from benchmark.table import Goal, Row, markdown

SCRIPT = ROOT / "scripts/bench.py"
HAS_TRANSFORMERS = importlib.util.find_spec("transformers") is not None


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


class WhatARunCosts(ProgramTest):
    def save_trace(self, *spans: tuple, memory: dict | None = None) -> Path:
        """Spans: name, begin and seconds, as the first rank's; one of another rank is beside them."""
        events = [{"ph": "X", "pid": rank, "name": name, "ts": begin * 1e6, "dur": taken * 1e6}
                  for name, begin, taken in spans for rank in (0, 1)]
        events.append({"ph": "X", "pid": 1, "name": "embedding", "ts": 0, "dur": 1})
        if memory:
            events.append({"ph": "i", "pid": 0, "name": "memory", "ts": 0, "args": memory})
        file = self.folder / "trace.json"
        file.write_text(json.dumps({"traceEvents": events}))
        return file

    def test_a_trace_tells_the_time_of_each_group_without_what_lies_between(self):
        spans = (("embedding", 1, 1), ("layer", 3, 2), ("layer", 5, 1), ("head and scores", 6, 4), ("embedding", 20, 1),
                 ("read", 20, 1), ("layer", 22, 2), ("head and scores", 24, 1))
        found = read_trace(self.save_trace(*spans))
        self.assertEqual(found, {"scored_seconds": 10, "passes_seconds": 14, "memory": {}})
        memory = {"peak_device_bytes": 5, "planned_device_bytes": 4}
        self.assertEqual(read_trace(self.save_trace(*spans, memory=memory))["memory"], memory)
        for missing in ("embedding", "layer", "head and scores"):
            with self.assertRaisesRegex(Failure, "different versions"):
                read_trace(self.save_trace(*(span for span in spans if span[0] != missing)))

    def test_a_process_is_watched_until_it_ends(self):
        large = self.folder / "large"
        large.write_bytes(bytes(50_000_000))
        words = (sys.executable, "-c", "import sys; held = open(sys.argv[1], 'rb').read()", large)
        found = run_and_watch(*words)
        own = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # which the system counts as the child's, too
        self.assertTrue(50e6 < found["peak_host_bytes"] <= max(200e6, own), found)
        self.assertGreater(found["seconds"], 0)
        if Path("/proc/self/io").exists():
            self.assertTrue(50e6 < found["read_bytes"] < 60e6, found)
        large.unlink()
        with self.assertRaisesRegex(Failure, "exit code 1: .*large"):
            run_and_watch(*words)


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

    @unittest.skipUnless(HAS_TRANSFORMERS, "the package transformers is not there: scripts/setup.sh --dev installs it")
    def test_measures_an_evaluation(self):
        run = self.bench("--rows", "evaluate", "--weights", TINY / "weights")
        self.assertEqual(run.code, 0, run.err)
        floor, other, more, reading = self.rows()
        for row in self.rows():
            self.assertIn(row["verdict"], ("met", "missed"), row)
        two, three = floor["details"]["evaluations"][0], more["details"]["evaluations"][0]
        alone = floor["details"]["floors"][0]
        alone = alone["all_layers_seconds"] + alone["head_seconds"]
        self.assertAlmostEqual(floor["value"], two["scored_seconds"] / (2 * alone))
        self.assertAlmostEqual(other["value"], other["details"]["others"][0]["seconds"] / two["scored_seconds"])
        self.assertAlmostEqual(more["value"], (three["scored_seconds"] - two["scored_seconds"]) / alone)
        for cost in (two, three):
            self.assertTrue(0 < cost["scored_seconds"] < cost["passes_seconds"] < cost["seconds"], cost)
        weights = sum(file.stat().st_size for file in (TINY / "weights").iterdir())
        if two["read_bytes"]:
            self.assertTrue(weights < two["read_bytes"] < 1.2 * weights, two)
            self.assertEqual(reading["verdict"], "met", reading)
        self.assert_nothing_left()

    def save_tasks(self) -> list:
        """One data set of four questions, and a model of random weights: the options that name them."""
        import transformers
        entries = [{"premise": f"Number {number} fell.", "choice1": "It broke.", "choice2": "It was whole.", "question":
                    "effect", "label": number % 2} for number in range(4)]
        folder, model = self.folder / "data/SuperGLUE/COPA", self.folder / "model"
        folder.mkdir(parents=True)
        (folder / "val.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        config = transformers.LlamaConfig(vocab_size=2048, hidden_size=128, intermediate_size=128, num_hidden_layers=2,
                                          num_attention_heads=2, num_key_value_heads=2, head_dim=64)
        transformers.LlamaForCausalLM(config).half().save_pretrained(model)
        shutil.copy(TINY / "tokenizer/tokenizer.model", model)
        return ["--tasks-data", self.folder / "data", "--tasks-model", model]

    @unittest.skipUnless(HAS_TRANSFORMERS, "the package transformers is not there: scripts/setup.sh --dev installs it")
    def test_measures_tasks_beside_a_harness(self):
        harness = self.folder / "harness"
        options = self.save_tasks()
        for has, verdict in (("False", "skipped"), ("True", "met")):
            harness.write_text(f"#!/bin/sh\n[ \"$1\" = -c ] && echo {has} || echo '{{\"seconds\": 5000, "
                               f"\"best_batch\": 16, \"batches\": [{{\"batch\": 1, \"median_seconds\": 6000}}]}}'\n")
            harness.chmod(0o755)
            run = self.bench("--rows", "evaluate-tasks", *options, "--tasks-items", 3, "--tasks-harness", harness)
            self.assertEqual(run.code, 0, run.err)
            beside, *best, share = self.rows()
            self.assertEqual(beside["verdict"], verdict, beside)
            self.assertIn("1 tasks, 3 items of each", beside["what"])
            self.assertIn(share["verdict"], ("met", "missed"), share)
            self.assert_nothing_left()
        seconds = beside["details"]["evaluations"][0]["seconds"]
        self.assertAlmostEqual(beside["value"], 6000 / seconds)
        self.assertAlmostEqual(best[0]["value"], 5000 / seconds)

    def test_measures_what_computes_nothing(self):
        run = self.bench("--rows", "quick")
        self.assertEqual(run.code, 0, run.err)
        self.assertEqual([row["what"].split(",")[0] for row in self.rows()],
                         [f"kvcalib {name}" for name in ("--help", "verify", "inspect", "export")])
        for row in self.rows():
            self.assertIn(row["verdict"], ("met", "missed"), row)

    def test_tasks_that_are_not_there_are_skipped(self):
        run = self.bench("--rows", "evaluate-tasks", "--tasks-data", self.folder / "nowhere")
        self.assertEqual(run.code, 0, run.err)
        self.assertEqual(self.rows()[0]["verdict"], "skipped")
        self.assertIn("nowhere is not there; name another by --tasks-data", self.rows()[0]["reason"])

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
                                 (("--tasks-items", "-1"), "-1 is negative"),
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
