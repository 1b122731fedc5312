# SPDX-License-Identifier: Apache-2.0
"""scripts/bench_hf.py and scripts/bench_floor.py on tiny shapes: what they report, and that they do what they time."""

import io
import json
import os
import runpy
import shutil
import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from safetensors.torch import load_file

from program import ROOT, TINY, Run, run_program

try:
    import transformers
except ImportError:
    transformers = None

SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))  # as the interpreter does for a script that it runs
PRESET = {"name": "tiny", "layers": 2, "hidden": 256, "heads": 4, "kv_heads": 2, "head_dim": 64, "intermediate": 512,
          "vocab": 320, "norm_eps": 1e-5, "rope_theta": 10000.0, "weight_type": "fp16", "attention_bias": False,
          "max_position_embeddings": 2048, "tensor_para_size": 1}
WINDOWS, LENGTH = 3, 64


class BenchmarkTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="kvcalib-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.preset = self.folder / "tiny.json"
        self.preset.write_text(json.dumps(PRESET))

    def run_script(self, name: str, *arguments) -> Run:
        """Runs a script in this process, which has loaded its libraries."""
        out, err, code = io.StringIO(), io.StringIO(), None
        words = [str(SCRIPTS / name), *map(str, arguments)]
        with mock.patch.object(sys, "argv", words), redirect_stdout(out), redirect_stderr(err):
            try:
                runpy.run_path(words[0], run_name="__main__")
            except SystemExit as end:
                code = end.code
        return Run(code, out.getvalue(), err.getvalue())

    def run_process(self, name: str, *arguments) -> Run:
        return run_program(Path(sys.executable), SCRIPTS / name, *arguments)

    def report(self, name: str, *arguments, runner=None) -> dict:
        run = (runner or self.run_script)(name, *arguments)
        self.assertEqual(run.code, 0, run.err)
        return json.loads(run.out)

    def assert_refused(self, code: int, words: str, name: str, *arguments):
        run = self.run_script(name, *arguments)
        self.assertEqual((run.code, run.out), (code, ""), run.err)
        self.assertIn(words, run.err)
        self.assertNotIn("Traceback", run.err)


class Floor(BenchmarkTest):
    def gemm(self, *arguments) -> dict:
        return self.report("bench_floor.py", "gemm", "--seconds", 0.01, "--repeat", 1, *arguments)

    def test_gemm_counts_the_flop_of_every_product_and_of_attention(self):
        report = self.gemm("--config", self.preset, "--windows", WINDOWS, "--length", LENGTH, "--micro-batch", 128)
        tokens = 128  # a micro-batch of two windows
        expected = {"qkv": 2 * tokens * 256 * 512, "output": 2 * tokens * 256 * 256, "gate_up": 2 * tokens * 256 * 1024,
                    "down": 2 * tokens * 512 * 256, "kv": 2 * tokens * 256 * 256,
                    "attention": 4 * 2 * 64 * 64 // 2 * 4 * 64}
        self.assertEqual({name: found["flop"] for name, found in report["operations"].items()}, expected)
        layer = sum(expected.values()) - expected["kv"]
        self.assertEqual(report["all_layers_flop"], 2 * layer * 3 // 2)  # three windows, two layers
        self.assertEqual(report["needed_flop"], (layer + expected["kv"]) * 3 // 2)

    def test_gemm_multiplies_what_it_measured(self):
        report = self.gemm("--config", self.preset, "--windows", WINDOWS, "--length", LENGTH, "--micro-batch", 128)
        self.assertEqual((report["layers"], report["micro_batch_tokens"], report["dtype"]), (2, 128, "float32"))
        sequences = report["layer_sequences"]
        self.assertLessEqual({"in_out", "out_in"}, set(sequences))
        best = sequences[report["best_sequence"]]
        self.assertEqual(best["seconds"], min(found["seconds"] for found in sequences.values()))
        self.assertAlmostEqual(report["layer_seconds"], best["seconds"] * 1.5)
        self.assertAlmostEqual(report["all_layers_seconds"], 2 * report["layer_seconds"])
        self.assertAlmostEqual(report["needed_seconds"], report["layer_seconds"] + report["kv_seconds"])
        for name, found in report["operations"].items():
            for way in ("flash",) if name == "attention" else ("in_out", "out_in"):
                self.assertGreater(found[way]["seconds"], 0)
                self.assertAlmostEqual(found[way]["teraflops"] * found[way]["seconds"] * 1e12 / found["flop"], 1)

    def test_gemm_takes_the_head_of_the_rows_that_score_a_token(self):
        report = self.gemm("--config", self.preset, "--windows", WINDOWS, "--length", LENGTH, "--head")
        rows = WINDOWS * (LENGTH - 1)
        self.assertEqual((report["head_rows"], report["head_block"]), (rows, rows))
        operations = report["head_operations"].values()
        self.assertAlmostEqual(report["head_seconds"] / min(found["seconds"] for found in operations), 1)
        for found in operations:
            self.assertAlmostEqual(found["teraflops"] * found["seconds"] * 1e12 / (2 * rows * 256 * PRESET["vocab"]), 1)
        self.assertNotIn("head_seconds", self.gemm("--config", self.preset, "--windows", 1, "--length", LENGTH))
        self.assert_refused(1, "none to score", "bench_floor.py", "gemm", "--config", self.preset, "--windows", 1,
                            "--length", 1, "--head")

    def test_gemm_reads_the_shape_of_a_weights_directory(self):
        report = self.gemm("--weights", TINY / "weights", "--windows", 1, "--length", 32)
        self.assertEqual((report["layers"], report["micro_batch_tokens"]), (4, 32))
        self.assertEqual(report["operations"]["gate_up"]["flop"], 2 * 32 * 256 * 2 * 768)

    def test_read_takes_every_inode_once(self):
        files = self.folder / "files"
        (files / "below").mkdir(parents=True)
        (files / "large").write_bytes(os.urandom((9 << 20) + 5))
        (files / "below/small").write_bytes(b"123")
        os.link(files / "large", files / "below/again")
        (files / "link").symlink_to("large")
        for cold in ([], ["--cold"]):
            report = self.report("bench_floor.py", "read", "--files", files, "--threads", "2,1", "--repeat", 2, *cold)
            self.assertEqual((report["files"], report["bytes"]), (2, (9 << 20) + 8))
            self.assertEqual([run["threads"] for run in report["runs"]], [1, 2])
            self.assertEqual([len(run["seconds"]) for run in report["runs"]], [2, 2])
            self.assertEqual(report["gigabytes_per_second"],
                             max(run["gigabytes_per_second"] for run in report["runs"]))
            self.assertAlmostEqual(report["gigabytes_per_second"] * report["seconds"] * 1e9 / report["bytes"], 1)

    def test_copy_reports_a_rate(self):
        report = self.report("bench_floor.py", "copy", "--device", "cpu", "--repeat", 1, runner=self.run_process)
        self.assertGreater(report["device_copy_gigabytes_per_second"], 0)

    def test_refuses_what_it_cannot_measure(self):
        self.assert_refused(2, "required", "bench_floor.py", "gemm", "--config", self.preset)
        self.assert_refused(2, "not a positive number", "bench_floor.py", "read", "--files", "x", "--threads", "0")
        self.assert_refused(1, "not a directory", "bench_floor.py", "read", "--files", self.folder / "none")
        self.assert_refused(1, "config.ini", "bench_floor.py", "gemm", "--weights", self.folder, "--windows", 1,
                            "--length", 8)
        self.preset.write_text(json.dumps(PRESET | {"heads": 3}))
        self.assert_refused(1, "heads x head_dim", "bench_floor.py", "gemm", "--config", self.preset, "--windows", 1,
                            "--length", 8)


@unittest.skipUnless(transformers, "the package transformers is not there: scripts/setup.sh --dev installs it")
class HuggingFace(BenchmarkTest):
    def setUp(self):
        super().setUp()
        transformers.utils.logging.disable_progress_bar()
        self.ids = self.folder / "ids.npy"
        generator = np.random.default_rng(0)
        np.save(self.ids, generator.integers(0, PRESET["vocab"], (WINDOWS + 1, LENGTH + 8), dtype=np.int32))

    def bench(self, *arguments, runner=None) -> dict:
        return self.report("bench_hf.py", "--windows", WINDOWS, "--length", LENGTH, "--repeat", 2, *arguments, runner=runner)

    def save_model(self) -> Path:
        """A model whose K and V spread over several units, as a Hugging Face directory."""
        torch.manual_seed(1)
        config = transformers.LlamaConfig(
            vocab_size=PRESET["vocab"], hidden_size=256, intermediate_size=512, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=64, initializer_range=0.1,
            max_position_embeddings=2048)
        transformers.LlamaForCausalLM(config).save_pretrained(self.folder / "model")
        return self.folder / "model"

    @torch.inference_mode()
    def assert_ranges(self, file: Path, model: Path):
        """Compares with the cache of a plain forward, one window at a time."""
        plain = transformers.LlamaForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="eager")
        ids = torch.from_numpy(np.load(self.ids)[:WINDOWS, :LENGTH].astype(np.int64))
        caches = [plain(input_ids=window[None], use_cache=True).past_key_values for window in ids]
        found = load_file(file)
        self.assertEqual(set(found), {"key.minimum", "key.maximum", "value.minimum", "value.maximum"})
        for layer in range(PRESET["layers"]):
            for name in ("key", "value"):
                seen = torch.cat([getattr(cache.layers[layer], name + "s")[0] for cache in caches], dim=1)
                self.assertEqual(seen.shape, (2, WINDOWS * LENGTH, 64))
                torch.testing.assert_close(found[name + ".minimum"][layer], seen.amin(1), rtol=1e-4, atol=1e-4)
                torch.testing.assert_close(found[name + ".maximum"][layer], seen.amax(1), rtol=1e-4, atol=1e-4)
                self.assertGreater(float(seen.amax() - seen.amin()), 0.5)

    def test_observes_the_ranges_of_a_loaded_model(self):
        model, ranges = self.save_model(), self.folder / "ranges.safetensors"
        report = self.bench("--hf", model, "--ids", self.ids, "--batch", "2,1,8", "--ranges", ranges)
        self.assert_ranges(ranges, model)
        self.assertEqual((report["weights"], report["layers"], report["dtype"]), ("loaded", 2, "float32"))
        self.assertEqual([result["batch"] for result in report["batches"]], [1, 2, 3])  # no more than there are windows
        self.assertEqual([len(result["forward_seconds"]) for result in report["batches"]], [2, 2, 2])
        fastest = min(report["batches"], key=lambda result: result["median_forward_seconds"])
        self.assertEqual((report["best_batch"], report["forward_seconds"]),
                         (fastest["batch"], fastest["median_forward_seconds"]))
        self.assertAlmostEqual(report["tokens_per_second"] * report["forward_seconds"] / (WINDOWS * LENGTH), 1)
        self.assertAlmostEqual(report["total_seconds"], report["import_seconds"] + report["load_seconds"]
                               + report["forward_seconds"])
        for name in ("import_seconds", "load_seconds", "peak_memory_gigabytes"):
            self.assertGreater(report[name], 0, name)
        self.assertEqual(report["versions"]["transformers"], transformers.__version__)

    def test_random_weights_have_the_shape_and_can_be_saved(self):
        one, other = self.folder / "one.safetensors", self.folder / "other.safetensors"
        report = self.bench("--config", self.preset, "--ids", self.ids, "--ranges", one, "--save", self.folder / "hf")
        self.assertEqual((report["weights"], report["layers"], report["attention"]), ("random", 2, "sdpa"))
        self.assertEqual(load_file(one)["key.minimum"].shape, (2, 2, 64))
        self.bench("--hf", self.folder / "hf", "--ids", self.ids, "--ranges", other)
        for name, tensor in load_file(one).items():
            torch.testing.assert_close(load_file(other)[name], tensor, msg=name)

    def test_takes_the_shape_of_a_weights_directory(self):
        report = self.bench("--weights", TINY / "weights", "--batch", 1, runner=self.run_process)
        self.assertEqual((report["layers"], report["weights"]), (4, "random"))

    def test_refuses_what_it_cannot_measure(self):
        self.assert_refused(2, "not allowed with", "bench_hf.py", "--config", self.preset, "--weights", TINY,
                            "--windows", 1, "--length", 8)
        self.assert_refused(2, "config.json", "bench_hf.py", "--hf", self.folder, "--windows", 1, "--length", 8)
        self.assert_refused(1, "expected integers of at least [9, 8]", "bench_hf.py", "--config", self.preset, "--ids",
                            self.ids, "--windows", 9, "--length", 8)
        np.save(self.ids, np.full((1, 8), PRESET["vocab"]))
        self.assert_refused(1, "its own tokenizer", "bench_hf.py", "--config", self.preset, "--ids", self.ids,
                            "--windows", 1, "--length", 8)


if __name__ == "__main__":
    unittest.main()
