# SPDX-License-Identifier: Apache-2.0
"""kvcalib's statistics and scales against the independent reference calibrator.

Before rounding, a range of the program and the reference's may differ by 1e-5 of the channel's own scale, the larger
magnitude of its two ends: |a - b| <= 1e-5 * max(|minimum|, |maximum|). (The reference in single and in double
precision differ by 1.4e-6 of it at most.) Rounded to 16 bits they are equal or neighbours.
"""

import json
import unittest
from pathlib import Path

import numpy as np
import torch

from program import (PRINT_RANGES, SHARED, ProgramTest, config_values, run_program, scales, shape_options,
                     statistics)
from reference import calibration
from reference.llama2c_tokenizer import Llama2cTokenizer
from reference.models import random_model, read_hugging_face, read_llama2c
from reference.windows import random_windows

TOLERANCE = 1e-5


def channel_scale(ranges: dict[str, np.ndarray], name: str) -> np.ndarray:
    tensor = name.partition(".")[0]
    return np.maximum(np.abs(ranges[tensor + ".minimum"]), np.abs(ranges[tensor + ".maximum"]))


def ordinal(values: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """The place of each value in the order of all 16-bit values, so that neighbours differ by one."""
    bits = torch.from_numpy(np.array(values)).to(dtype).view(torch.int16).numpy().astype(np.int32)
    return np.where(bits < 0, -(bits & 0x7FFF), bits)


class Reference(ProgramTest):
    def save(self, windows: np.ndarray) -> Path:
        file = self.folder / "windows.npy"
        np.save(file, windows.astype(np.int32))
        return file

    def assert_agrees(self, weights: Path, windows: np.ndarray, *, runtime: str = "0.3.0", serving_ranks: int = 2,
                      arguments: tuple = (), warns: str | None = None):
        """Calibrates `windows` and compares statistics, ranges before rounding, and scale files."""
        expected = calibration.calibrate(weights, windows, runtime)
        ids, output = self.save(windows), self.folder / "output"
        run = self.succeed("calibrate", "--weights", weights, "--data", ids, *shape_options(ids), "--output", output,
                           "--devices", "cpu", "--runtime", runtime, *arguments)
        if warns:
            self.assertIn(warns, run.err)
        found = statistics(output)
        self.assertEqual(set(found), {*calibration.RANGE_NAMES, "key.reach"})
        self.assert_rounded(found, expected)
        session = int(config_values(weights)["session_len"])
        served = calibration.served_ranges(found, calibration.Config.read(weights), runtime, windows.shape[1], session)
        reference_files = calibration.scale_files(calibration.Ranges(served, expected.dtype), serving_ranks,
                                                  runtime=runtime)
        self.assertEqual(scales(output), reference_files)
        self.assert_unrounded(weights, ids, runtime, expected)

    def assert_rounded(self, found: dict[str, np.ndarray], expected: calibration.Ranges):
        rounded = expected.rounded().tensors
        for name in calibration.RANGE_NAMES:
            self.assertEqual(found[name].dtype, np.float32, name)
            self.assertEqual(found[name].shape, rounded[name].shape, name)
            exact = torch.from_numpy(found[name].copy()).to(expected.dtype).float().numpy()
            self.assertEqual(found[name].tobytes(), exact.tobytes(), f"{name} is not rounded to {expected.dtype}")
            steps = np.abs(ordinal(found[name], expected.dtype) - ordinal(rounded[name], expected.dtype))
            # Near zero the 16-bit values lie closer together than single precision can tell apart.
            near = np.abs(found[name] - rounded[name]) <= TOLERANCE * channel_scale(rounded, name)
            worst = np.unravel_index(np.argmax(np.where(near, 0, steps)), steps.shape)
            self.assertTrue(np.all((steps <= 1) | near), f"{name}: {found[name][worst]} at {worst}, expected "
                                                         f"{rounded[name][worst]}, {steps[worst]} steps away")
            self.assertGreater(np.mean(steps == 0), 0.95, f"{name}: too many neighbours")

    def assert_unrounded(self, weights: Path, ids: Path, runtime: str, expected: calibration.Ranges):
        from safetensors.numpy import load_file
        self.assertTrue(PRINT_RANGES.exists(),
                        f"{PRINT_RANGES} is not there: build it, or name it in KVCALIB_PRINT_RANGES")
        file = self.folder / "unrounded.safetensors"
        run = run_program(PRINT_RANGES, weights, ids, file, runtime)
        self.assertEqual(run.code, 0, run.err)
        found = load_file(file)
        for name in calibration.RANGE_NAMES:
            difference = np.abs(found[name] - expected.tensors[name]) / channel_scale(expected.tensors, name)
            worst = np.unravel_index(np.argmax(difference), difference.shape)
            self.assertLessEqual(difference[worst], TOLERANCE,
                                 f"{name} at {worst}: {found[name][worst]}, expected {expected.tensors[name][worst]}")
        scale = channel_scale(expected.tensors, "key.minimum").reshape(*expected.reach.shape[:3], 2).max(-1)
        difference = np.abs(found["key.reach"] - expected.reach) / scale[..., None]
        self.assertLessEqual(difference.max(), TOLERANCE, "key.reach")

    def check_random(self, seed: int, *, ranks: int = 2, runtime: str = "0.3.0", windows: int = 4, tokens: int = 160,
                     release: str = "0.3.0", changes: dict | None = None, **shape):
        model = random_model(seed, **shape)
        weights = self.write(model, ranks, release=release, changes=changes)
        self.assert_agrees(weights, random_windows(seed, windows, tokens, model.vocab), runtime=runtime,
                           serving_ranks=ranks)

    def test_multi_head_attention_in_fp16(self):
        self.check_random(10, heads=4)

    def test_grouped_query_attention(self):
        self.check_random(11, heads=4, kv_heads=2)

    def test_attention_bias(self):
        self.check_random(12, attention_bias=True)

    def test_grouped_query_attention_with_bias_on_one_rank(self):
        self.check_random(13, heads=4, kv_heads=1, attention_bias=True, ranks=1)

    def test_bf16(self):
        self.check_random(14, weight_type="bf16", attention_bias=True)

    def test_padded_vocabulary(self):
        self.check_random(15, vocab=321)

    def test_large_rope_theta(self):
        self.check_random(16, rope_theta=1e6, tokens=400)

    def test_config_of_an_older_converter(self):
        self.check_random(17, release="0.0.12", runtime="0.0.12")

    def test_config_without_the_keys_that_came_later(self):
        self.check_random(18, release="0.0.12", runtime="0.0.4",
                          changes={"kv_head_num": None, "rope_theta": None, "max_position_embeddings": None,
                                   "use_dynamic_ntk": None, "use_logn_attn": None})

    def test_dynamic_ntk_of_v0_0(self):
        self.check_random(19, release="0.0.12", runtime="0.0.14", use_dynamic_ntk=True, max_position_embeddings=64)

    def test_dynamic_ntk_of_v0_1_short_sessions(self):
        self.check_random(20, runtime="0.1.0", rope_scaling_factor=2.0)

    def test_dynamic_ntk_of_v0_2(self):
        self.check_random(21, runtime="0.2.6", rope_scaling_factor=2.0, max_position_embeddings=64)

    def test_dynamic_ntk_of_v0_3(self):
        self.check_random(22, use_dynamic_ntk=True, rope_scaling_factor=2.0, max_position_embeddings=64)

    def test_linear_scaling_of_v0_3(self):
        self.check_random(23, rope_scaling_factor=4.0)

    def test_logn_attention(self):
        self.check_random(24, use_logn_attn=True, max_position_embeddings=32)

    def test_trained_model_of_eight_shards_on_c4(self):
        source, text = SHARED / "models/llama-96m", SHARED / "c4/c4_en_train_sample.jsonl"
        if not source.exists() or not text.exists():
            self.skipTest(f"{source} and {text} are not there")
        import sentencepiece
        model = read_hugging_face(source)
        tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(model.tokenizer))
        windows = []
        for line in text.read_text(encoding="utf-8").split("\n"):
            ids = [model.start_id] + tokenizer.encode(json.loads(line)["text"])
            if len(ids) >= 2048:
                windows.append(ids[:2048])
            if len(windows) == 3:
                break
        self.assert_agrees(self.write(model, 8), np.array(windows), serving_ranks=8)

    def test_trained_grouped_query_model_with_small_heads(self):
        source, text = SHARED / "models/stories260K.bin", SHARED / "tinystories/tinystories_sample.txt"
        if not source.exists() or not text.exists():
            self.skipTest(f"{source} and {text} are not there")
        model = read_llama2c(source)
        tokenizer = Llama2cTokenizer(SHARED / "models/tok512.bin")
        ids = []
        for line in text.read_text(encoding="utf-8").split("\n"):
            ids += tokenizer.encode(line) if line else []
            if len(ids) >= 8 * 512:
                break
        windows = np.array(ids[:8 * 512]).reshape(8, 512)
        # The runtime only has kernels for heads of 128.
        self.assert_agrees(self.write(model, 2), windows, warns="128")


if __name__ == "__main__":
    unittest.main()
