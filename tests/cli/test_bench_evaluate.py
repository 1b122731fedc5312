# SPDX-License-Identifier: Apache-2.0
"""scripts/bench_evaluate_hf.py and scripts/bench_tasks_hf.py: that they do what they time, and what they refuse."""

import importlib.util
import json
import unittest
from pathlib import Path

import numpy as np

from program import TINY
from reference.evaluate import Cache, evaluate, from_model
from reference.models import random_model
from test_benchmarks import LENGTH, PRESET, SCRIPTS, WINDOWS, BenchmarkTest, transformers


@unittest.skipUnless(transformers, "the package transformers is not there: scripts/setup.sh --dev installs it")
class EvaluateHuggingFace(BenchmarkTest):
    def setUp(self):
        super().setUp()
        transformers.utils.logging.disable_progress_bar()
        self.model = random_model(1, layers=2, heads=4, kv_heads=2, vocab=PRESET["vocab"], head_dim=64)
        self.ids, self.scales = self.folder / "ids.npy", self.folder / "scales"
        generator = np.random.default_rng(0)
        self.windows = generator.integers(0, PRESET["vocab"], (WINDOWS, LENGTH), dtype=np.int32)
        np.save(self.ids, self.windows)

    def bench(self, *arguments, runner=None) -> dict:
        return self.report("bench_evaluate_hf.py", "--windows", WINDOWS, "--length", LENGTH, "--repeat", 2, *arguments,
                           runner=runner)

    def save_model(self) -> Path:
        config = transformers.LlamaConfig(
            vocab_size=self.model.vocab, hidden_size=256, intermediate_size=self.model.intermediate,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=64, rms_norm_eps=1e-5)
        llama = transformers.LlamaForCausalLM(config)
        llama.load_state_dict(self.model.tensors)
        llama.save_pretrained(self.folder / "model")
        return self.folder / "model"

    def save_scales(self, ranks: int) -> np.ndarray:
        scales = np.random.default_rng(1).uniform(0.01, 0.1, (2, ranks, 4)).astype(np.float32)
        self.scales.mkdir()
        for layer in range(2):
            for rank in range(ranks):
                scales[layer, rank].tofile(self.scales / f"layers.{layer}.past_kv_scale.{rank}.weight")
        return scales

    def test_finds_what_the_reference_finds(self):
        model, scales = self.save_model(), self.save_scales(2)
        report = self.bench("--hf", model, "--ids", self.ids, "--scales", self.scales, "--batch", "2,1,8", "--rows", 50)
        windows = list(evaluate(from_model(self.model), self.windows, [Cache(), Cache(scales=scales)]))
        surprises = [np.mean([scores[stream].surprise[1:] for scores in windows]) for stream in (0, 1)]
        divergence = np.mean([scores[1].divergence[1:] for scores in windows])
        same_top = np.mean([scores[1].same_top[1:] for scores in windows])
        self.assertGreater(divergence, 1e-5)
        self.assertEqual(report["scored_tokens"], WINDOWS * (LENGTH - 1))
        self.assertEqual([result["batch"] for result in report["batches"]], [1, 2, 3])
        for result in report["batches"]:
            np.testing.assert_allclose(np.log(result["perplexity"]), surprises, rtol=1e-4)
            self.assertAlmostEqual(result["divergence"] / divergence, 1, delta=0.02)
            self.assertAlmostEqual(result["same_top"], same_top, delta=0.02)
            self.assertEqual(len(result["seconds"]), 2)
        fastest = min(report["batches"], key=lambda result: result["median_seconds"])
        self.assertEqual((report["best_batch"], report["seconds"]), (fastest["batch"], fastest["median_seconds"]))
        self.assertAlmostEqual(report["tokens_per_second"] * report["seconds"] / (WINDOWS * LENGTH), 1)

    def test_scales_of_the_first_window_clip_nothing_there(self):
        report = self.bench("--hf", self.save_model(), "--ids", self.ids, "--batch", 1)
        self.assertTrue(0 < report["divergence"] < 1e-2, report["divergence"])
        self.assertEqual((report["scales"], report["weights"]), ("of the first window", "loaded"))

    def test_takes_the_shape_of_a_weights_directory(self):
        report = self.bench("--weights", TINY / "weights", "--batch", 2, runner=self.run_process)
        self.assertEqual((report["layers"], report["weights"]), (4, "random"))

    def test_refuses_what_it_cannot_measure(self):
        def refuse(code, words, *arguments):
            self.assert_refused(code, words, "bench_evaluate_hf.py", "--config", self.preset, "--windows", 1,
                                *arguments)
        refuse(2, "no token to score", "--length", 1)
        refuse(1, "layers.0.past_kv_scale.0.weight", "--length", 8, "--scales", self.folder)
        self.save_scales(3)
        refuse(1, "3 ranks", "--length", 8, "--scales", self.scales)
        (self.scales / "layers.1.past_kv_scale.2.weight").write_bytes(b"12345678")
        refuse(1, "layers.1.past_kv_scale.2.weight", "--length", 8, "--scales", self.scales)


@unittest.skipUnless(transformers, "the package transformers is not there: scripts/setup.sh --dev installs it")
class TasksHuggingFace(BenchmarkTest):
    def setUp(self):
        super().setUp()
        self.tasks, self.model = self.folder / "task.jsonl", self.folder / "model"
        transformers.LlamaConfig(vocab_size=320).save_pretrained(self.model)

    def write(self, rule: str, *items: dict):
        header = {"format": "kvcalib-task", "version": 1, "task": "row", "rule": rule}
        self.tasks.write_text("".join(json.dumps(line) + "\n" for line in (header, *items)))

    def script(self):
        specification = importlib.util.spec_from_file_location("bench_tasks_hf", SCRIPTS / "bench_tasks_hf.py")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    def test_texts_are_split_where_the_scored_part_begins(self):
        script = self.script()
        self.write("ll", {"texts": ["a\u2028b", "cd"], "from": [2, 1], "gold": 1},
                   {"texts": ["e"], "from": [0], "gold": 0})
        header, items = script.read_scored_task(self.tasks, 1)
        self.assertEqual(script.requests_of(header, items), [("a\u2028", "b"), ("c", "d")])
        self.write("ppl", {"texts": ["ab", "cd"], "gold": 1})
        self.assertEqual(script.requests_of(*script.read_scored_task(self.tasks, None)), [("", "ab"), ("", "cd")])

    def test_accuracy_is_by_the_rule(self):
        items = [{"texts": ["", ""], "gold": 1}, {"texts": ["", "", ""], "gold": 0}]
        values = [(-6.0, 3), (-7.0, 4), (-2.0, 2), (-2.0, 2), (-9.0, 2)]  # a tie goes to the first
        for rule, expected in (("ppl", 1), ("ppl/(n-1)", 1), ("ll", 0.5)):
            self.assertEqual(self.script().accuracy({"rule": rule}, items, values), expected, rule)

    def test_refuses_what_it_cannot_score(self):
        self.write("ppl", {"ids": [[1, 2]], "gold": 0})
        arguments = ("bench_tasks_hf.py", "--hf", self.model, "--tasks", self.tasks)
        if importlib.util.find_spec("lm_eval") is None:
            self.assert_refused(1, 'pip install "lm_eval[hf]"', *arguments)
        else:
            self.assert_refused(1, "no 'texts'", *arguments)
        self.assert_refused(2, "config.json", "bench_tasks_hf.py", "--hf", self.folder, "--tasks", self.tasks)
        script = self.script()
        for rule, item in (("ppl", {"ids": [[1]], "gold": 0}), ("ll", {"texts": ["a"], "gold": 0}),
                           ("gen", {"texts": []})):
            self.write(rule, item)
            with self.assertRaisesRegex(script.Failure, "task.jsonl.*expected a task file"):
                script.read_scored_task(self.tasks, None)


if __name__ == "__main__":
    unittest.main()
