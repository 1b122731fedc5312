# SPDX-License-Identifier: Apache-2.0
"""What `kvcalib evaluate` reports of tokens and texts, against a reference in plain PyTorch."""

import json
import math
import unittest
from pathlib import Path

import numpy as np
import torch

from evaluation import BOS, TEXT, EvaluationTest, named, own_ids, own_text, read_report, streams_of, tokenizer_of
from program import SHARED, TINY
from reference.evaluate import Cache, Decoder, evaluate, from_directory, from_model, read_scales
from reference.models import random_model, read_hugging_face
from reference.windows import random_windows


class Scores(EvaluationTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        torch.set_num_threads(1)

    def save(self, ids: np.ndarray) -> Path:
        np.save(self.folder / "ids.npy", ids)
        return self.folder / "ids.npy"

    def check_text(self, decoder: Decoder, ids: np.ndarray, report: Path, caches: dict[str, Cache],
                   divergence: float):
        """Perplexity of every stream to 1e-4, the divergence to a relative `divergence`, the same top token."""
        expected = list(evaluate(decoder, ids, [Cache(), *caches.values()]))
        streams = read_report(report)["streams"]
        self.assertEqual([stream["name"] for stream in streams], ["fp16", *caches])
        for number, stream in enumerate(streams):
            def of_tokens(name):
                return np.concatenate([getattr(window[number], name)[1:] for window in expected])
            with self.subTest(stream=stream["name"]):
                surprise = of_tokens("surprise").mean()
                self.assertAlmostEqual(math.log(stream["ppl"]) / surprise, 1, delta=1e-4)
                self.assertAlmostEqual(stream["ppl"] / math.exp(surprise), 1, delta=1e-4)
                if number == 0:
                    continue
                for found, name in ((stream["kld"]["mean"], "divergence"),
                                    (stream["kld"]["reverse_mean"], "reverse_divergence")):
                    self.assertAlmostEqual(found / of_tokens(name).mean(), 1, delta=divergence, msg=name)
                self.assertAlmostEqual(stream["kld"]["max"] / of_tokens("divergence").max(), 1, delta=0.2)
                self.assertAlmostEqual(stream["same_top_p"], 100 * of_tokens("same_top").mean(), delta=0.5)

    def test_text(self):
        ids = own_ids(4, 96)
        made = ("--samples", 16, "--length", 256, "--session-len", 256)
        windows = self.calibrate(TINY / "weights", TEXT, *made, name="of-windows")
        symmetric = self.calibrate(TINY / "weights", TEXT, *made, "--symmetric", name="symmetric")
        second = self.spoilt(lambda scales: scales.__setitem__((slice(None), 0), scales[:, 1]), "of-the-second")
        directories = {"of-windows": windows, "symmetric": symmetric, "of-the-second": second}
        report = self.report("--data", self.save(ids), *streams_of(*directories.values()))
        self.check_text(from_directory(TINY / "weights"), ids, report,
                        {name: Cache(scales=read_scales(each, 4)) for name, each in directories.items()}, 0.02)

    def test_text_is_cut_into_windows_in_its_order(self):
        file = self.folder / "text.jsonl"
        file.write_text("".join(json.dumps({"text": own_text(number)[:200]}) + "\n" for number in range(2)))
        tokenizer = tokenizer_of(TINY)
        ids = np.concatenate([[BOS] + tokenizer.encode(own_text(number)[:200]) for number in range(2)])
        windows = [ids[first:first + 48] for first in range(0, len(ids), 48)]
        report = self.report("--data", file, "--length", 48, "--scales", self.right_scales)
        self.assertEqual(read_report(report)["text"], {"windows": len(windows), "tokens": len(ids) - len(windows)})
        surprises = [scores[0].surprise[1:]
                     for scores in evaluate(from_directory(TINY / "weights"), windows, [Cache()])]
        self.assertAlmostEqual(read_report(report)["streams"][0]["ppl"] / math.exp(np.concatenate(surprises).mean()), 1,
                               delta=1e-4)

    def test_ranks_of_grouped_heads(self):
        """As many serving ranks as kv heads, half as many, one; biases, and heads that share K and V."""
        model = random_model(3, layers=3, heads=8, kv_heads=4, head_dim=64, vocab=320, attention_bias=True)
        model.tensors = {name: tensor.half() for name, tensor in model.tensors.items()}
        weights, calibration = self.write(model, 1), random_windows(1, 4, 64, model.vocab)
        np.save(self.folder / "calibration.npy", calibration)
        directories = {f"of-{ranks}": self.calibrate(weights, self.folder / "calibration.npy", "--serving-tp", ranks,
                                                     name=f"of-{ranks}") for ranks in (1, 2, 4)}
        ids = random_windows(2, 3, 48, model.vocab)
        report = self.report("--data", self.save(ids), *streams_of(*directories.values()), weights=weights)
        caches = {name: Cache(scales=read_scales(each, 3)) for name, each in directories.items()}
        self.assertEqual(caches["of-4"].scales.shape, (3, 4, 4))
        self.check_text(from_model(model), ids, report, caches, 0.03)
        layers = named(read_report(report)["layers"], "of-2")["layers"]
        self.assertEqual([len(layer["ranks"]) for layer in layers], [2, 2, 2])

    def test_llama_96m(self):
        source = SHARED / "models/llama-96m"
        if not source.exists():
            self.skipTest(f"{source} is not there")
        with open(SHARED / "text/prose_valid.jsonl", encoding="utf-8") as file:
            ids = tokenizer_of(source).encode(" ".join(json.loads(next(file))["text"] for _ in range(4)))
        windows = np.array([[BOS, *ids[first:first + 255]] for first in (0, 255)], np.int32)
        scales = self.calibrate(source, self.save(windows), "--serving-tp", 4, name="scales")
        report = self.report("--data", self.save(windows), "--scales", scales, weights=source)
        self.check_text(from_model(read_hugging_face(source)), windows, report,
                        {"int8": Cache(scales=read_scales(scales, 8))}, 0.02)
        self.assertLess(read_report(report)["streams"][1]["kld"]["mean"], 1e-3)


if __name__ == "__main__":
    unittest.main()
