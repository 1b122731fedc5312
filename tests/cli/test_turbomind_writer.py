# SPDX-License-Identifier: Apache-2.0
"""The tests' own directory writer and reference calibrator, held against real files and against each other."""

import hashlib
import math
import struct
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch

from program import SHARED, TINY
from reference import calibration
from reference.models import Model, random_model, read_hugging_face, read_llama2c
from reference.turbomind_writer import config_ini, edit_tensor, to_interleaved_pairs, weight_files, write_directory
from reference.windows import random_windows


def same(one: calibration.Ranges, other: calibration.Ranges) -> bool:
    return all(np.array_equal(one.tensors[name], other.tensors[name]) for name in calibration.RANGE_NAMES)


def half_rotated_keys(model: Model, windows: np.ndarray) -> torch.Tensor:
    """K of layer 0 as Hugging Face computes it [windows, kv_heads, tokens, head_dim], from 16-bit weights."""
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[model.weight_type]
    weights = {name: tensor.to(dtype).float() for name, tensor in model.tensors.items()}
    x = weights["model.embed_tokens.weight"][torch.from_numpy(windows).long()]
    x = torch.nn.functional.rms_norm(x, x.shape[-1:], weights["model.layers.0.input_layernorm.weight"], model.norm_eps)
    k = torch.nn.functional.linear(x, weights["model.layers.0.self_attn.k_proj.weight"],
                                   weights.get("model.layers.0.self_attn.k_proj.bias"))
    k = k.unflatten(-1, (model.kv_heads, model.head_dim)).transpose(1, 2)
    half = model.head_dim // 2
    angles = torch.outer(torch.arange(windows.shape[1]).double(),
                         model.rope_theta ** (-torch.arange(half).double() / half)).repeat(1, 2)
    swapped = torch.cat((-k[..., half:], k[..., :half]), dim=-1)
    return k * angles.cos().float() + swapped * angles.sin().float()


class TurboMindWriter(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="kvcalib-test-")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def test_writes_the_bytes_and_config_of_lmdeploys_own_converters(self):
        sums = SHARED / "turbomind/llama-96m-tp8.sha256"
        if not sums.exists():
            self.skipTest(f"{sums} is not there")
        model = read_hugging_face(SHARED / "models/llama-96m")
        directory = write_directory(model, self.folder / "weights", 8)
        expected = dict(reversed(line.split()) for line in sums.read_text().splitlines())
        found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in weight_files(directory)}
        self.assertEqual(found, expected)
        for release in ("0.0.12", "0.3.0"):
            self.assertEqual(config_ini(model, 8, release),
                             (SHARED / f"turbomind/config-v{release}.ini").read_text(), release)

    def test_embedded_model_is_the_trained_one(self):
        source = SHARED / "models/tiny-4m"
        if not source.exists():
            self.skipTest(f"{source} is not there")
        model = read_hugging_face(source)
        model.session_len = 2056
        directory = write_directory(model, self.folder / "weights", 2)
        for file in directory.iterdir():
            self.assertEqual(file.read_bytes(), (TINY / "weights" / file.name).read_bytes(), file.name)
        self.assertEqual(len(list((TINY / "weights").iterdir())), len(list(directory.iterdir())))

    def test_ranges_do_not_depend_on_how_many_ranks_the_directory_is_cut_for(self):
        model = random_model(1, heads=8, kv_heads=4, head_dim=32, attention_bias=True, intermediate=96)
        windows = random_windows(1, 3, 40, model.vocab)
        whole = calibration.calibrate(write_directory(model, self.folder / "1", 1), windows)
        for ranks in (2, 4):
            cut = calibration.calibrate(write_directory(model, self.folder / str(ranks), ranks), windows)
            self.assertTrue(same(whole, cut), f"{ranks} ranks")

    def test_interleaved_keys_are_the_half_rotated_ones_in_another_order(self):
        for weight_type in ("fp16", "bf16"):
            model = random_model(2, layers=1, heads=4, kv_heads=2, attention_bias=True, weight_type=weight_type)
            windows = random_windows(2, 2, 50, model.vocab)
            found = calibration.calibrate(write_directory(model, self.folder / weight_type, 2), windows)
            keys = half_rotated_keys(model, windows)
            for name, extreme in (("key.minimum", keys.amin((0, 2))), ("key.maximum", keys.amax((0, 2)))):
                expected = to_interleaved_pairs(extreme.flatten(), model.head_dim).view(1, 2, -1).numpy()
                np.testing.assert_allclose(found.tensors[name], expected, rtol=1e-5, atol=1e-5)

    def test_permutation_follows_its_definition(self):
        head_dim, heads = 128, 2
        rows = torch.arange(heads * head_dim)
        permuted = to_interleaved_pairs(rows, head_dim)
        for head in range(heads):
            for pair in range(head_dim // 2):
                for side in range(2):
                    self.assertEqual(permuted[head * head_dim + 2 * pair + side],
                                     head * head_dim + side * head_dim // 2 + pair)

    def test_files_have_the_sizes_of_the_format(self):
        model = random_model(3, layers=1, heads=4, kv_heads=2, vocab=321, attention_bias=True)
        directory = write_directory(model, self.folder / "weights", 2)
        hidden, q, kv, inner = 512, 2 * 128, 128, model.intermediate // 2
        sizes = {"tok_embeddings.weight": 322 * hidden, "output.weight": 322 * hidden, "norm.weight": hidden,
                 "layers.0.attention_norm.weight": hidden, "layers.0.ffn_norm.weight": hidden}
        for rank in range(2):
            sizes |= {f"layers.0.attention.w_qkv.{rank}.weight": hidden * (q + 2 * kv),
                      f"layers.0.attention.w_qkv.{rank}.bias": q + 2 * kv,
                      f"layers.0.attention.wo.{rank}.weight": q * hidden,
                      f"layers.0.attention.wo.{rank}.bias": hidden,
                      f"layers.0.feed_forward.w1.{rank}.weight": hidden * inner,
                      f"layers.0.feed_forward.w2.{rank}.weight": hidden * inner,
                      f"layers.0.feed_forward.w3.{rank}.weight": hidden * inner}
        self.assertEqual({file.name: file.stat().st_size // 2 for file in weight_files(directory)}, sizes)
        self.assertEqual((directory / "layers.0.attention.wo.0.bias").read_bytes(),
                         (directory / "layers.0.attention.wo.1.bias").read_bytes())
        self.assertFalse(np.fromfile(directory / "tok_embeddings.weight", "<i2").reshape(322, -1)[-1].any())

    def test_bf16_is_written_as_bit_patterns(self):
        model = random_model(4, layers=1, weight_type="bf16")
        directory = write_directory(model, self.folder / "weights")
        bits = np.fromfile(directory / "norm.weight", "<u2")
        values = (bits.astype("<u4") << 16).view("<f4")
        np.testing.assert_allclose(values, model.tensors["model.norm.weight"].numpy(), rtol=2**-8)

    def test_edits_one_element(self):
        directory = write_directory(random_model(5, layers=1), self.folder / "weights")
        before = np.fromfile(directory / "norm.weight", "<f2")
        edit_tensor(directory / "norm.weight", 7, math.nan)
        after = np.fromfile(directory / "norm.weight", "<f2")
        self.assertTrue(np.isnan(after[7]))
        self.assertEqual(np.delete(before, 7).tobytes(), np.delete(after, 7).tobytes())

    def test_reads_a_llama2c_checkpoint_to_its_end(self):
        file = SHARED / "models/stories260K.bin"
        if not file.exists():
            self.skipTest(f"{file} is not there")
        model = read_llama2c(file)
        self.assertEqual((model.layers, model.heads, model.kv_heads, model.head_dim, model.intermediate, model.vocab),
                         (5, 8, 4, 8, 172, 512))
        counted = sum(tensor.numel() for name, tensor in model.tensors.items() if name != "lm_head.weight")
        # The file ends with two tables of rotary frequencies [positions, head_dim / 2] that nothing needs.
        self.assertEqual(file.stat().st_size, 28 + 4 * (counted + 2 * 512 * 4))


class ReferenceCalibrator(unittest.TestCase):
    def ranges(self, minimum: float, maximum: float) -> calibration.Ranges:
        tensors = {"key.minimum": minimum, "key.maximum": maximum, "value.minimum": -2.0, "value.maximum": 0.55}
        return calibration.Ranges({name: np.full((1, 2, 4), value, np.float32) for name, value in tensors.items()},
                                  torch.float16)

    def test_asymmetric_scales_are_the_formulas_in_single_precision(self):
        files = calibration.scale_files(self.ranges(-1.0, 4.1), 1)
        self.assertEqual(list(files), ["layers.0.past_kv_scale.0.weight"])
        single = np.float32
        expected = [(single(4.1) + single(1)) / single(255), (single(4.1) - single(1)) * single(0.5),
                    (single(0.55) + single(2)) / single(255), (single(0.55) - single(2)) * single(0.5)]
        self.assertEqual(files["layers.0.past_kv_scale.0.weight"], struct.pack("<4f", *expected))

    def test_ranges_without_zero_are_widened(self):
        scale, zero, *_ = struct.unpack("<4f", calibration.scale_files(self.ranges(1.0, 2.55), 1).popitem()[1])
        self.assertAlmostEqual(scale, 0.01, places=7)
        self.assertAlmostEqual(zero, 1.275, places=6)

    def test_symmetric_and_two_value_files(self):
        ranges = self.ranges(-12.7, 4.0)
        symmetric = calibration.scale_files(ranges, 2, symmetric=True)
        self.assertEqual(len(symmetric), 2)
        scale, zero, value_scale, value_zero = struct.unpack("<4f", symmetric["layers.0.past_kv_scale.1.weight"])
        self.assertAlmostEqual(scale, 0.1, places=6)
        self.assertEqual((zero, value_zero), (0.0, 0.0))
        old = calibration.scale_files(ranges, 2, runtime="0.0.3")["layers.0.past_kv_scale.0.weight"]
        self.assertEqual(struct.unpack("<2f", old), (scale, value_scale))

    def test_a_range_of_nothing_gives_the_smallest_scale(self):
        scale, zero, *_ = struct.unpack("<4f", calibration.scale_files(self.ranges(0.0, 0.0), 1).popitem()[1])
        self.assertEqual((scale, zero), (2.0**-24, 0.0))

    def test_each_release_has_its_own_rotary_base(self):
        model = random_model(6, layers=1, use_dynamic_ntk=True, rope_scaling_factor=2.0, max_position_embeddings=100)
        with tempfile.TemporaryDirectory(prefix="kvcalib-test-") as folder:
            config = calibration.Config.read(write_directory(model, Path(folder) / "weights"))
        power = 128 / 126
        for runtime, limit, dynamic, expected in (
                ("0.0.5", 250, True, (1e4, 1)), ("0.0.14", 99, True, (1e4, 1)), ("0.0.14", 100, True, (1e4, 1)),
                ("0.0.14", 101, True, (1e4 * 3**power, 1)), ("0.0.14", 250, True, (1e4 * 7**power, 1)),
                ("0.0.14", 250, False, (1e4, 1)), ("0.1.0", 50, False, (1e4 * 2**power, 1)),
                ("0.2.6", 50, False, (1e4, 1)), ("0.2.6", 250, False, (1e4 * 4**power, 1)),
                ("0.3.0", 250, True, (1e4 * 4**power, 1)), ("0.3.0", 50, True, (1e4, 1)),
                ("0.3.0", 250, False, (1e4, 0.5))):
            config.use_dynamic_ntk = dynamic
            base, factor = calibration.rotary_base(config, runtime, limit)
            self.assertAlmostEqual(base / expected[0], 1, msg=f"{runtime} {limit} {dynamic}")
            self.assertEqual(factor, expected[1], f"{runtime} {limit} {dynamic}")

    def test_logn_changes_later_layers_only(self):
        options = dict(layers=2, max_position_embeddings=16)
        windows = random_windows(7, 2, 48, 320)
        with tempfile.TemporaryDirectory(prefix="kvcalib-test-") as folder:
            plain, scaled = (calibration.calibrate(
                write_directory(random_model(7, use_logn_attn=logn, **options), Path(folder) / str(logn)), windows)
                for logn in (False, True))
        self.assertTrue(np.array_equal(plain.tensors["key.maximum"][0], scaled.tensors["key.maximum"][0]))
        self.assertFalse(np.array_equal(plain.tensors["key.maximum"][1], scaled.tensors["key.maximum"][1]))


if __name__ == "__main__":
    unittest.main()
