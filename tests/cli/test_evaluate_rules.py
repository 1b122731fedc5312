# SPDX-License-Identifier: Apache-2.0
"""Values of the items of `kvcalib evaluate --tasks` by every rule, against a reference in plain PyTorch."""

import unittest
from pathlib import Path

import numpy as np
import torch

from evaluation import BOS, EvaluationTest, named, own_ids, read_items, read_report, tokenizer_of
from program import SHARED, TINY
from reference.evaluate import (Cache, Decoder, choose, evaluate, from_directory, from_model, logits_of, read_scales,
                                task_value)
from reference.models import read_hugging_face

RULES = ("ppl", "ppl/(n-1)", "ll")
ITEMS = [("The house was", (" old and cold.", " a day, of the man who said it.", " blue.")),
         ("It is said that", (" he", " she went to the sea and came back with a fish", " nobody knows")),
         ("A", (" man", " woman of the town, and her dog", " table end"))]


class Rules(EvaluationTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        torch.set_num_threads(1)

    def rule_tasks(self) -> list[Path]:
        return [self.task(f"rule-{number}", rule, [
            {"texts": [before + tail for tail in tails], "gold": 1}
            | ({"from": [len(before)] * len(tails)} if rule == "ll" else {}) for before, tails in ITEMS])
            for number, rule in enumerate(RULES)]

    def check_rules(self, lines: list[dict], decoder: Decoder, tokenizer, caches: dict[str, Cache]):
        """Values of items in the order of the tasks, and the score that they come to."""
        texts = [[[BOS] + tokenizer.encode(before + tail) for tail in tails] for before, tails in ITEMS]
        starts = [len(tokenizer.encode(before)) + 1 for before, _ in ITEMS]
        self.assertEqual(len(lines), len(RULES) * len(ITEMS))
        for name, cache in caches.items():
            logits = [[logits_of(decoder, np.array(ids), cache) for ids in of_item] for of_item in texts]
            for position, line in enumerate(lines):
                rule, number = RULES[position // len(ITEMS)], position % len(ITEMS)
                expected = [task_value(of_text, np.array(ids), rule, starts[number])
                            for of_text, ids in zip(logits[number], texts[number])]
                np.testing.assert_allclose(line["values"][name], expected, rtol=1e-4 if name == "fp16" else 5e-4,
                                           err_msg=f"{name} {rule} {number}")
                self.assertEqual((line["id"], line["gold"], line["choice"][name]), (str(number), 1, choose(expected)))

    def test_embedded_model(self):
        output = self.report("--tasks", *self.rule_tasks(), "--scales", self.right_scales)
        caches = {"fp16": Cache(), "int8": Cache(scales=read_scales(self.right_scales, 4))}
        lines = read_items(output)
        self.check_rules(lines, from_directory(TINY / "weights"), tokenizer_of(TINY), caches)
        for number in range(len(RULES)):
            task = named(read_report(output)["tasks"], f"rule-{number}", "task")
            for stream in task["streams"]:
                right = [line["choice"][stream["name"]] == 1 for line in lines if line["task"] == task["task"]]
                self.assertAlmostEqual(stream["score"], 100 * np.mean(right))

    def test_llama_96m(self):
        source = SHARED / "models/llama-96m"
        if not source.exists():
            self.skipTest(f"{source} is not there")
        model = read_hugging_face(source)
        scales = self.calibrate(source, self.windows(1, 2, 64, model.vocab), "--serving-tp", 4, name="scales")
        lines = read_items(self.report("--tasks", *self.rule_tasks(), "--scales", scales, weights=source))
        self.check_rules(lines, from_model(model), tokenizer_of(source),
                         {"fp16": Cache(), "int8": Cache(scales=read_scales(scales, 8))})

    def test_sum_over_n_with_the_bos_in_n(self):
        """The report's rule, once more in as few lines as it takes."""
        ids = own_ids(1, 24)[0].tolist()
        task = self.task("n", "ppl", [{"ids": [ids, ids[:20]], "gold": 0}], bos=BOS)
        item, = read_items(self.report("--tasks", task, "--scales", self.right_scales))
        decoder = from_directory(TINY / "weights")
        for text, value in zip((ids, ids[:20]), item["values"]["fp16"]):
            log_p = torch.log_softmax(logits_of(decoder, np.array(text), Cache()), dim=-1)
            losses = [-log_p[position, text[position + 1]].item() for position in range(len(text) - 1)]
            self.assertAlmostEqual(value / (sum(losses) / len(text)), 1, delta=1e-4)

    def test_every_probability(self):
        """Each token of the vocabulary as the last of a text: all logits behind 40 tokens, but for a constant."""
        ids = own_ids(1, 40)[0]
        task = self.task("all", "ll", [{"ids": [[*ids.tolist(), last] for last in range(2048)],
                                        "from": [len(ids)] * 2048, "gold": 0}], bos=BOS)
        item, = read_items(self.report("--tasks", task, "--scales", self.right_scales))
        decoder = from_directory(TINY / "weights")
        for name, cache in (("fp16", Cache()), ("int8", Cache(scales=read_scales(self.right_scales, 4)))):
            expected = -torch.log_softmax(logits_of(decoder, ids, cache)[-1].double(), -1).numpy()
            np.testing.assert_allclose(item["values"][name], expected, rtol=1e-4, err_msg=name)
            self.assertEqual(item["choice"][name], expected.argmin())

    def test_every_token(self):
        """Beginnings of a text as texts of an item: the surprise of each of its tokens. Where a value lies between two
        codes, arithmetic decides; the tokens that attend to it show that."""
        ids = own_ids(1, 96)[0]
        task = self.task("tokens", "ll", [{"ids": [ids[:end + 1].tolist() for end in range(1, 96)],
                                           "from": list(range(1, 96)), "gold": 0}], bos=BOS)
        item, = read_items(self.report("--tasks", task, "--scales", self.right_scales))
        exact, int8 = next(evaluate(from_directory(TINY / "weights"), [ids],
                                    [Cache(), Cache(scales=read_scales(self.right_scales, 4))]))
        np.testing.assert_allclose(item["values"]["fp16"], exact.surprise[1:], rtol=1e-4, atol=1e-5)
        found = np.array(item["values"]["int8"])
        np.testing.assert_allclose(found, int8.surprise[1:], rtol=5e-3, atol=1e-4)
        off = np.abs(found / int8.surprise[1:] - 1)
        self.assertLess(np.quantile(off, 0.75), 1e-4)
        self.assertGreater(np.quantile(np.abs(found / exact.surprise[1:] - 1), 0.25), 1e-3)  # which int8 costs


if __name__ == "__main__":
    unittest.main()
