# SPDX-License-Identifier: Apache-2.0
"""Every family that is read from a Hugging Face directory, against transformers or the published architecture.

Before rounding, a range of the program may differ from what the family's own code keeps in its cache by 1e-5 of the
widest value that K, or V, has in that layer. (Both compute in single precision; transformers its angles too.)
"""

import dataclasses
import importlib.util
import unittest
from pathlib import Path

import numpy as np

from program import PRINT_RANGES, ProgramTest, run_program
from reference.calibration import RANGE_NAMES
from reference.families import Decoder, random_decoder, save
from reference.family_oracle import own_ranges, transformers_ranges
from reference.windows import random_windows

TOLERANCE = 1e-5
HAS_TRANSFORMERS = importlib.util.find_spec("transformers") is not None
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
DYNAMIC = {"type": "dynamic", "factor": 2.0}


class Families(ProgramTest):
    def assert_near(self, found: dict[str, np.ndarray], expected: dict[str, np.ndarray]):
        self.assertEqual(set(found) - {"key.reach"}, set(RANGE_NAMES))
        for name in RANGE_NAMES:
            tensor = name.partition(".")[0]
            self.assertEqual(found[name].shape, expected[name].shape, name)
            widest = np.maximum(np.abs(expected[tensor + ".minimum"]), np.abs(expected[tensor + ".maximum"]))
            difference = np.abs(found[name] - expected[name]) / widest.max(axis=(1, 2), keepdims=True)
            worst = np.unravel_index(np.argmax(difference), difference.shape)
            self.assertLessEqual(difference[worst], TOLERANCE,
                                 f"{name} at {worst}: {found[name][worst]}, expected {expected[name][worst]}")

    def printed_ranges(self, directory: Path, windows: np.ndarray) -> dict[str, np.ndarray]:
        from safetensors.numpy import load_file
        self.assertTrue(PRINT_RANGES.exists(),
                        f"{PRINT_RANGES} is not there: build it, or name it in KVCALIB_PRINT_RANGES")
        ids, output = self.folder / "windows.npy", self.folder / "unrounded.safetensors"
        np.save(ids, windows)
        run = run_program(PRINT_RANGES, directory, ids, output)
        self.assertEqual(run.code, 0, run.err)
        return load_file(output)

    def check(self, architecture: str, *, seed: int = 0, tokens: int = 80, files: int = 1, rename=lambda name: name,
              **shape) -> Decoder:
        """The program, and the oracle's own lines, agree with transformers, or where it lacks the family with them."""
        decoder = random_decoder(seed, architecture, **shape)
        if decoder.in_transformers and not HAS_TRANSFORMERS:
            self.skipTest("the Python package transformers is absent")
        directory = save(decoder, self.folder / "model", files, rename)
        windows = random_windows(seed, 3, tokens, decoder.vocab)
        expected = own_ranges(decoder, windows)
        if decoder.in_transformers:
            own, expected = expected, transformers_ranges(directory, windows)
            self.assert_near(own, expected)
        self.assert_near(self.printed_ranges(directory, windows), expected)
        return decoder

    def assert_same_under_other_names(self, decoder: Decoder, rename, tokens: int = 80):
        """What a directory gives whose tensors transformers does not find is what it gives under their own names."""
        windows = random_windows(0, 3, tokens, decoder.vocab)
        plain = self.printed_ranges(save(decoder, self.folder / "plain"), windows)
        found = self.printed_ranges(save(decoder, self.folder / "renamed", rename=rename), windows)
        for name in RANGE_NAMES:
            self.assertEqual(found[name].tobytes(), plain[name].tobytes(), name)

    def assert_matters(self, decoder: Decoder, tokens: int, **changes):
        """Without what the test is about the ranges would be others."""
        windows = random_windows(0, 3, tokens, decoder.vocab)
        with self.assertRaises(AssertionError):
            self.assert_near(own_ranges(dataclasses.replace(decoder, **changes), windows),
                             own_ranges(decoder, windows))


class Llama(Families):
    ARCHITECTURE = "LlamaForCausalLM"

    def test_heads_of_128(self):
        self.check(self.ARCHITECTURE, hidden=256, heads=2, kv_heads=2, head_dim=128)

    def test_grouped_queries(self):
        self.check(self.ARCHITECTURE, heads=4, kv_heads=2, rope_theta=500000.0, layers=3)

    def test_one_kv_head_of_64(self):
        self.check(self.ARCHITECTURE, hidden=192, heads=3, kv_heads=1, head_dim=64)

    def test_attention_bias(self):
        self.check(self.ARCHITECTURE, kv_heads=2, attention_bias=True)

    def test_heads_that_do_not_make_up_the_hidden_size(self):
        self.check(self.ARCHITECTURE, hidden=96, heads=4, kv_heads=2, head_dim=64)

    def test_tied_embedding(self):
        self.check(self.ARCHITECTURE, tied=True)

    def test_linear_scaling(self):
        decoder = self.check(self.ARCHITECTURE, rope_scaling={"type": "linear", "factor": 4.0})
        self.assert_matters(decoder, 80, rope_scaling=None)

    def test_dynamic_scaling_beyond_the_trained_length(self):
        decoder = self.check(self.ARCHITECTURE, rope_scaling=DYNAMIC, max_positions=40, tokens=96)
        self.assert_matters(decoder, 96, rope_scaling=None)

    def test_dynamic_scaling_within_the_trained_length(self):
        self.check(self.ARCHITECTURE, rope_scaling=DYNAMIC, max_positions=80, tokens=80)

    def test_dynamic_scaling_goes_by_the_position_limit(self):
        # transformers pays no attention to the key here.
        scaling = DYNAMIC | {"original_max_position_embeddings": 20}
        self.check(self.ARCHITECTURE, rope_scaling=scaling, max_positions=40, tokens=96)

    def test_llama3_scaling(self):
        decoder = self.check(self.ARCHITECTURE, kv_heads=2, head_dim=64, rope_scaling=LLAMA3, rope_theta=500000.0,
                             max_positions=512, tokens=160)
        self.assert_matters(decoder, 160, rope_scaling=None)

    def test_rotation_as_transformers_5_writes_it(self):
        parameters = {"rope_type": "linear", "factor": 2.0, "rope_theta": 50000.0}
        scaling = {"rope_type": "linear", "factor": 2.0}
        config = {"rope_parameters": parameters, "rope_theta": None, "rope_scaling": None, "dtype": "float32"}
        self.check(self.ARCHITECTURE, rope_scaling=scaling, rope_theta=50000.0, config=config)

    def test_rotation_that_is_stated_twice_alike(self):
        scaling = {"rope_type": "linear", "factor": 2.0}
        config = {"rope_parameters": {"type": "linear", "factor": 2, "rope_theta": 50000}, "model_type": "llama",
                  "dtype": "float32", "torch_dtype": "float32"}
        decoder = self.check(self.ARCHITECTURE, rope_scaling=scaling, rope_theta=50000.0, config=config)
        self.assert_matters(decoder, 80, rope_scaling=None)

    def test_original_positions_outside_the_rotation(self):
        scaling = {key: value for key, value in LLAMA3.items() if not key.startswith("original")}
        decoder = self.check(self.ARCHITECTURE, kv_heads=2, head_dim=64, max_positions=512, tokens=160,
                             rope_scaling=LLAMA3, config={"rope_scaling": scaling,
                                                          "original_max_position_embeddings": 64})
        self.assert_matters(decoder, 160, rope_scaling=None)

    def test_keys_of_other_families(self):
        config = {"use_dynamic_ntk": True, "use_logn_attn": True, "seq_length": 20, "sliding_window": 8,
                  "use_sliding_window": True, "rotary": {"base": 500.0, "type": "dynamic"}, "rotary_emb_base": 500}
        self.check(self.ARCHITECTURE, kv_heads=2, max_positions=40, config=config)

    def test_biases_of_the_mlp(self):
        decoder = self.check(self.ARCHITECTURE, mlp_bias=True, attention_bias=True, kv_heads=2, layers=3)
        tensors = {name: tensor for name, tensor in decoder.tensors.items() if not name.endswith("up_proj.bias")}
        self.assert_matters(decoder, 80, tensors=tensors)

    def test_names_without_the_model(self):
        self.check(self.ARCHITECTURE, kv_heads=2, rename=lambda name: name.removeprefix("model."))

    def test_a_tied_head_that_is_stored_in_place_of_the_embedding(self):
        self.check(self.ARCHITECTURE, tied=True,
                   rename=lambda name: "lm_head.weight" if name == "model.embed_tokens.weight" else name)

    def test_names_with_more_in_front(self):
        decoder = random_decoder(1, self.ARCHITECTURE, kv_heads=2)
        for number, front in enumerate(("_orig_mod.", "module.", "language_model.")):
            with self.subTest(front=front):
                self.folder = self.folder / str(number)
                self.folder.mkdir()
                self.assert_same_under_other_names(decoder, lambda name, front=front: front + name)

    def test_yi(self):
        self.check(self.ARCHITECTURE, hidden=256, heads=8, kv_heads=2, rope_theta=5000000.0, max_positions=4096,
                   config={"bos_token_id": 1, "eos_token_id": 2, "pretraining_tp": 1})

    def test_fp16(self):
        self.check(self.ARCHITECTURE, kv_heads=2, dtype="float16")

    def test_bf16(self):
        self.check(self.ARCHITECTURE, kv_heads=2, dtype="bfloat16")

    def test_several_files(self):
        for dtype in ("float32", "bfloat16"):
            with self.subTest(dtype=dtype):
                self.check(self.ARCHITECTURE, kv_heads=2, attention_bias=True, files=5, dtype=dtype)
                self.folder = self.folder / "next"
                self.folder.mkdir()


class Mistral(Families):
    ARCHITECTURE = "MistralForCausalLM"

    def test_beyond_its_sliding_window(self):
        decoder = self.check(self.ARCHITECTURE, layers=3, kv_heads=2, sliding_window=24, tokens=96)
        self.assert_matters(decoder, 96, sliding_window=None)

    def test_within_its_sliding_window(self):
        self.check(self.ARCHITECTURE, kv_heads=2, sliding_window=80, tokens=80)

    def test_without_a_sliding_window_and_with_its_own_head_size(self):
        self.check(self.ARCHITECTURE, hidden=160, heads=4, kv_heads=2, head_dim=32, rope_theta=1e6)


    def test_layers_that_are_listed(self):
        for kind, window in (("sliding_attention", 24), ("full_attention", None)):
            with self.subTest(kind=kind):
                self.check(self.ARCHITECTURE, kv_heads=2, sliding_window=window,
                           config={"sliding_window": 24, "layer_types": [kind] * 2, "head_dim": 32,
                                   "use_sliding_window": False})
                self.folder = self.folder / "next"
                self.folder.mkdir()


class Qwen(Families):
    def test_first_version(self):
        self.check("QWenLMHeadModel", hidden=256, heads=2, kv_heads=2, head_dim=128, use_dynamic_ntk=True,
                   use_logn_attn=True)

    def test_first_version_beyond_its_trained_length(self):
        decoder = self.check("QWenLMHeadModel", use_dynamic_ntk=True, use_logn_attn=True, max_positions=32, tokens=100)
        self.assert_matters(decoder, 100, use_logn_attn=False)
        self.assert_matters(decoder, 100, use_dynamic_ntk=False)

    def test_first_version_at_its_trained_length(self):
        self.check("QWenLMHeadModel", use_dynamic_ntk=True, use_logn_attn=True, max_positions=64, tokens=64)

    def test_second_version(self):
        # It states a sliding window, and does not use it.
        self.check("Qwen2ForCausalLM", kv_heads=2, rope_theta=1e6,
                   config={"use_sliding_window": False, "sliding_window": 16, "max_window_layers": 1})

    def test_second_version_beyond_its_sliding_window(self):
        self.check("Qwen2ForCausalLM", kv_heads=2, sliding_window=24,
                   config={"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 0})

    def test_second_version_that_carries_keys_of_the_first(self):
        self.check("Qwen2ForCausalLM", kv_heads=2, max_positions=40, tokens=96,
                   config={"use_dynamic_ntk": True, "use_logn_attn": True, "seq_length": 40})

    def test_second_version_whose_layers_are_listed(self):
        for kind, window in (("sliding_attention", 24), ("full_attention", None)):
            with self.subTest(kind=kind):
                self.check("Qwen2ForCausalLM", kv_heads=2, sliding_window=window,
                           config={"use_sliding_window": True, "sliding_window": 24, "layer_types": [kind] * 2})
                self.folder = self.folder / "next"
                self.folder.mkdir()

    def test_second_version_with_a_tied_embedding(self):
        self.check("Qwen2ForCausalLM", hidden=128, heads=2, kv_heads=1, head_dim=64, tied=True)

    def test_third_version(self):
        config = {"use_sliding_window": False, "sliding_window": None, "max_window_layers": 2}
        for hidden, head_dim in ((128, 64), (256, 128)):
            with self.subTest(head_dim=head_dim):
                self.check("Qwen3ForCausalLM", hidden=hidden, heads=4, kv_heads=2, head_dim=head_dim, rope_theta=1e6,
                           norm_eps=1e-6, config=config)
                self.folder = self.folder / "next"
                self.folder.mkdir()


class InternLM(Families):
    def test_first_version(self):
        self.check("InternLMForCausalLM", attention_bias=True)

    def test_first_version_without_biases(self):
        self.check("InternLMForCausalLM", dtype="float16")

    def test_first_version_beyond_its_trained_length(self):
        self.check("InternLMForCausalLM", attention_bias=True, rope_scaling={"type": "dynamic", "factor": 1.0},
                   max_positions=40, tokens=96)

    def test_second_version(self):
        self.check("InternLM2ForCausalLM", heads=6, kv_heads=2, hidden=192, rope_theta=1e6)

    def test_second_version_beyond_its_trained_length(self):
        self.check("InternLM2ForCausalLM", heads=4, kv_heads=1, rope_scaling=DYNAMIC, max_positions=40, tokens=96)

    def test_second_version_with_biases(self):
        self.check("InternLM2ForCausalLM", heads=4, kv_heads=2, attention_bias=True)

    def test_second_version_with_heads_of_128(self):
        self.check("InternLM2ForCausalLM", hidden=256, heads=2, kv_heads=2, head_dim=128, dtype="bfloat16", files=3)


class Baichuan(Families):
    def test_first_version(self):
        self.check("BaiChuanForCausalLM", dtype="float16")

    def test_second_version(self):
        self.check("BaichuanForCausalLM", hidden=256, heads=2, kv_heads=2, head_dim=128, dtype="bfloat16")


if __name__ == "__main__":
    unittest.main()
