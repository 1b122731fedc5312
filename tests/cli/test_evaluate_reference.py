# SPDX-License-Identifier: Apache-2.0
"""tests/reference/evaluate.py, which the program's evaluations are compared with, against transformers."""

import json
import shutil
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch

from program import SHARED, TINY
from reference.evaluate import (Cache, choose, evaluate, from_directory, from_model, logits_of, read_scales, scores_of,
                                task_value)
from reference.models import Model, random_model, read_hugging_face
from reference.turbomind_writer import write_directory
from reference.windows import random_windows

try:
    import transformers
except ImportError:
    transformers = None

UNROUNDED = Cache(dtype=None)


def causal_model(model: Model):
    """The model as transformers' own Llama, in fp32."""
    config = transformers.LlamaConfig(
        vocab_size=model.vocab, hidden_size=model.hidden, intermediate_size=model.intermediate,
        num_hidden_layers=model.layers, num_attention_heads=model.heads, num_key_value_heads=model.kv_heads,
        head_dim=model.head_dim, rms_norm_eps=model.norm_eps, attention_bias=model.attention_bias,
        max_position_embeddings=model.max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": model.rope_theta}, attn_implementation="eager")
    llama = transformers.LlamaForCausalLM(config).eval().float()
    llama.load_state_dict({name: tensor.float() for name, tensor in model.tensors.items()})
    return llama


def rounding_cache(config, scales: np.ndarray):
    """A cache that rounds K and V to fp16, takes them through int8 and rounds again, head by head."""
    class Rounding(transformers.DynamicCache):
        def update(self, keys, values, layer, *arguments, **options):
            for tensor, first in ((keys, 0), (values, 2)):
                per_rank = tensor.shape[1] // scales.shape[1]
                for head in range(tensor.shape[1]):
                    scale, zero = map(float, scales[layer, head // per_rank, first:first + 2])
                    x = tensor[:, head].half().float()
                    tensor[:, head] = (((x - zero) / scale).round().clamp(-128, 127) * scale + zero).half().float()
            return super().update(keys, values, layer, *arguments, **options)
    return Rounding(config=config)


def random_scales(seed: int, layers: int, ranks: int) -> np.ndarray:
    """Scales [layers, ranks, 4] of which some clip."""
    generator = np.random.default_rng(seed)
    scales = generator.uniform(0.005, 0.06, (layers, ranks, 4)).astype(np.float32)
    scales[..., 1::2] = generator.uniform(-1, 1, (layers, ranks, 2))
    return scales


class EvaluateReference(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="kvcalib-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def assert_close(self, found: np.ndarray, expected: np.ndarray, relative: float):
        self.assertEqual(found.shape, expected.shape)
        self.assertLessEqual(np.abs(found - expected).max(), relative * np.abs(expected).max())

    @torch.inference_mode()
    def check(self, model: Model, windows: np.ndarray, ranks: int = 2):
        """Surprises without rounding, and with int8 the divergence from them, as transformers has them."""
        llama, decoder = causal_model(model), from_model(model)
        scales = random_scales(1, model.layers, ranks)
        for ids, scores in zip(windows, evaluate(decoder, windows, [UNROUNDED, Cache(scales=scales)])):
            batch = torch.from_numpy(ids)[None].long()
            plain = llama(batch).logits[0]
            int8 = llama(batch, past_key_values=rounding_cache(llama.config, scales)).logits[0]
            for logits, found in zip((plain, int8), scores):
                losses = torch.nn.functional.cross_entropy(logits[:-1], batch[0, 1:], reduction="none").numpy()
                self.assertEqual(found.surprise[0], 0)
                np.testing.assert_allclose(found.surprise[1:], losses, rtol=1e-4 if found is scores[0] else 1e-3)
            first, second = (torch.log_softmax(logits[:-1].double(), -1) for logits in (plain, int8))
            kl = torch.nn.functional.kl_div
            self.assert_close(scores[1].divergence[1:], kl(second, first, log_target=True,
                                                           reduction="none").sum(-1).numpy(), 1e-2)
            self.assert_close(scores[1].reverse_divergence[1:], kl(first, second, log_target=True,
                                                                   reduction="none").sum(-1).numpy(), 1e-2)
            self.assertGreater(scores[1].divergence[1:].min(), 0)
            self.assertGreaterEqual(np.mean(scores[1].same_top[1:] == (first.argmax(-1) == second.argmax(-1)).numpy()),
                                    0.98)

    @unittest.skipIf(transformers is None, "the Python package transformers is absent")
    def test_agrees_with_transformers(self):
        for seed, shape in ((1, {"heads": 4, "kv_heads": 2}), (2, {"attention_bias": True}), (3, {"rope_theta": 1e6})):
            with self.subTest(shape=shape):
                model = random_model(seed, **shape)
                self.check(model, random_windows(seed, 2, 96, model.vocab))

    @unittest.skipIf(transformers is None, "the Python package transformers is absent")
    def test_agrees_with_transformers_on_a_trained_model(self):
        source = SHARED / "models/llama-96m"
        if not source.exists():
            self.skipTest(f"{source} is not there")
        model = read_hugging_face(source)
        self.check(model, random_windows(5, 1, 128, model.vocab), ranks=8)

    def test_a_directory_is_the_model_that_it_was_written_from(self):
        model = random_model(4, heads=4, kv_heads=2, vocab=321, attention_bias=True)
        decoder = from_directory(write_directory(model, self.folder / "weights", 2))
        model.tensors = {name: tensor.half() for name, tensor in model.tensors.items()}
        caches = [Cache(), Cache(scales=random_scales(2, model.layers, 2))]
        windows = random_windows(4, 1, 64, model.vocab)
        for found, expected in zip(evaluate(decoder, windows, caches), evaluate(from_model(model), windows, caches)):
            for one, other in zip(found, expected):
                np.testing.assert_allclose(one.surprise, other.surprise, rtol=1e-3)
            self.assert_close(found[1].divergence, expected[1].divergence, 1e-2)

    def test_the_embedded_model_expects_its_own_text(self):
        import sentencepiece
        tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(TINY / "tokenizer/tokenizer.model"))
        text = json.loads((TINY / "text.jsonl").read_text(encoding="utf-8").split("\n")[0])["text"]
        ids = np.array([1] + tokenizer.encode(text))[:256]
        scores, = evaluate(from_directory(TINY / "weights"), [ids], [Cache()])
        self.assertLess(np.exp(scores[0].surprise[1:].mean()), 60)

    def test_equal_caches_do_not_diverge(self):
        model = random_model(6)
        scores, = evaluate(from_model(model), random_windows(6, 1, 48, model.vocab), [Cache(), Cache()])
        self.assertEqual(scores[0].surprise.tobytes(), scores[1].surprise.tobytes())
        self.assertFalse(scores[1].divergence.any() or scores[1].reverse_divergence.any())
        self.assertEqual(scores[1].same_top.tolist(), [0] + [1] * 47)

    def test_int8_on_values_known_exactly(self):
        scales = np.array([[[1, 0, 0.5, 1], [2, 1, 1, 0]]], np.float32)
        cache = Cache(scales=scales)
        x = torch.tensor([0.5, 1.5, -2.5, 127.5, 128.0, -128.5, -200.0])
        keys = cache.through(x.expand(2, 1, 7), 0, 0)
        self.assertEqual(keys[0, 0].tolist(), [0, 2, -2, 127, 127, -128, -128])
        self.assertEqual(keys[1, 0].tolist(), [1, 1, -3, 127, 129, -129, -199])  # (x - 1) / 2: ties to even
        values = cache.through(x.expand(2, 1, 7), 0, 2)
        self.assertEqual(values[0, 0].tolist(), [0.5, 1.5, -2.5, 64.5, 64.5, -63, -63])
        self.assertEqual(Cache().through(torch.tensor([[[1 + 2**-11, 1 + 3 * 2**-11]]]), 0, 0).tolist(),
                         [[[1, 1 + 2**-9]]])

    def test_scale_files_are_read_by_layer_and_rank(self):
        scales = random_scales(3, 2, 3)
        for layer in range(2):
            for rank in range(3):
                scales[layer, rank].tofile(self.folder / f"layers.{layer}.past_kv_scale.{rank}.weight")
        self.assertEqual(read_scales(self.folder, 2).tobytes(), scales.tobytes())

    def test_task_rules(self):
        logits = torch.log(torch.tensor([[1, 1, 2], [1, 2, 1], [2, 1, 1], [1, 1, 2]]) / 4.0)
        ids, ln2 = np.array([0, 2, 0, 1]), np.log(2)  # of probability 1/2, 1/4, 1/4 behind the first
        for rule, start, expected in (("ppl", 0, 5 / 4), ("ppl/(n-1)", 0, 5 / 3), ("ll", 0, 5), ("ll", 1, 5),
                                      ("ll", 2, 4), ("ll", 3, 2)):
            self.assertAlmostEqual(task_value(logits, ids, rule, start), expected * ln2, places=6, msg=(rule, start))
        self.assertEqual(choose([2.0, 1.0, 1.0]), 1)

    def test_the_task_rule_is_the_sum_of_surprises(self):
        model = random_model(7)
        ids = random_windows(7, 1, 40, model.vocab)[0]
        logits = logits_of(from_model(model), ids, Cache())
        self.assertAlmostEqual(task_value(logits, ids, "ppl"), scores_of(logits, ids).surprise.sum() / 40, places=9)


if __name__ == "__main__":
    unittest.main()
