# SPDX-License-Identifier: Apache-2.0
"""verify finds each way in which a set of scales can be wrong; inspect shows a set and its statistics."""

import re
import shutil
import struct
import unittest
from pathlib import Path

from program import TINY, TINY_LAYERS, TINY_RANKS, ProgramTest, config_values, kvcalib, scales, statistics

SCALE = "layers.2.past_kv_scale.1.weight"


class Verify(ProgramTest):
    def setUp(self):
        super().setUp()
        self.weights = self.tiny()
        self.output = Path(shutil.copytree(self.calibrated(), self.folder / "output"))
        for name, data in scales(self.output).items():
            (self.weights / name).write_bytes(data)
        shutil.copyfile(self.output / "config.ini", self.weights / "config.ini")

    def faults(self, *arguments, directory: Path | None = None) -> list[str]:
        """The faults that verify finds, the same as text and as JSON."""
        directory = directory or self.weights
        run = kvcalib("verify", directory, *arguments)
        report = kvcalib("verify", directory, *arguments, "--json")
        listed = self.parse_json(report.out)["faults"]
        self.assertEqual(run.code, report.code)
        self.assertEqual(run.code, 1 if listed else 0, run.text)
        self.assertEqual([line.removeprefix("fault: ") for line in run.out.splitlines() if line.startswith("fault: ")],
                         listed, "one fault a line")
        return listed

    def assert_fault(self, *words: str, arguments=(), count: int | None = 1):
        found = self.faults(*arguments)
        self.assertTrue(any(all(word in fault for word in words) for fault in found), f"{words} in {found}")
        if count is not None:
            self.assertEqual(len(found), count, found)

    def write_scale(self, *values: float, name: str = SCALE):
        (self.weights / name).write_bytes(struct.pack(f"<{len(values)}f", *values))

    def set_config(self, key: str, value: str):
        file = self.weights / "config.ini"
        old = config_values(self.weights)[key]
        text = file.read_text()
        self.assertIn(f"{key} = {old}\n", text)
        file.write_text(text.replace(f"{key} = {old}\n", f"{key} = {value}\n"))

    def test_a_good_set(self):
        self.assertEqual(self.faults(), [])
        self.assertEqual(self.faults("--runtime", "0.1.0"), [])
        self.assertEqual(self.faults(directory=self.output), [])
        self.assertIn("0.3.0", kvcalib("verify", self.weights).out)

    def test_no_scales_at_all(self):
        run = kvcalib("verify", TINY / "weights")
        self.assertEqual(run.code, 1)
        self.assertIn("quant_policy", run.out)

    def test_missing_file(self):
        (self.weights / SCALE).unlink()
        self.assert_fault(SCALE)

    def test_missing_rank(self):
        for layer in range(TINY_LAYERS):
            (self.weights / f"layers.{layer}.past_kv_scale.1.weight").unlink()
        self.assert_fault("1 of 2 serving ranks")

    def test_files_of_more_ranks_or_layers(self):
        for name, said in (("layers.0.past_kv_scale.2.weight", "rank 2"),
                           (f"layers.{TINY_LAYERS}.past_kv_scale.0.weight", f"layer {TINY_LAYERS}")):
            shutil.copyfile(self.weights / SCALE, self.weights / name)
            self.assert_fault(said)
            (self.weights / name).unlink()

    def test_misspelt_name(self):
        (self.weights / SCALE).rename(self.weights / "layers.2.past_kv_scale.01.weight")
        self.assert_fault("layers.2.past_kv_scale.01.weight", count=None)

    def test_sizes(self):
        good = (self.weights / SCALE).read_bytes()
        for data in (good[:12], good + bytes(4), b"", good[:8]):
            (self.weights / SCALE).write_bytes(data)
            self.assert_fault(SCALE, str(len(data)), "16")

    def test_sizes_of_old_releases(self):
        self.set_config("use_context_fmha", "0")
        self.assertEqual(self.faults("--runtime", "0.0.14"), [])
        self.assert_fault("16", "8", arguments=("--runtime", "0.0.3"), count=None)
        for name in scales(self.weights):
            self.write_scale(0.1, 0.1, name=name)
        self.assertEqual(self.faults("--runtime", "0.0.3"), [])
        self.assert_fault("16", "8", arguments=("--runtime", "0.0.14"), count=None)

    def test_numbers_that_are_none(self):
        for values in ((float("nan"), 0.01, 0.1, 0.01), (0.1, float("inf"), 0.1, 0.01),
                       (0.1, 0.01, float("-inf"), 0.01)):
            self.write_scale(*values)
            self.assert_fault(SCALE)

    def test_scales_that_are_not_positive(self):
        for values in ((0, 0.01, 0.1, 0.01), (0.1, 0.01, -0.1, 0.01)):
            self.write_scale(*values)
            self.assert_fault(SCALE)

    def test_range_without_zero(self):
        self.write_scale(0.01, 2.0, 0.01, 0.01)
        self.assert_fault(SCALE)

    def test_all_scales_one(self):
        """What the runtime takes silently when files are missing."""
        for name in scales(self.weights):
            self.write_scale(1, 0, 1, 0, name=name)
        self.assert_fault("1", count=None)

    def test_config_keys(self):
        for policy in ("0", "8", "5"):
            self.set_config("quant_policy", policy)
            self.assert_fault("quant_policy", policy)
        self.set_config("quant_policy", "4")
        self.assert_fault("use_context_fmha", arguments=("--runtime", "0.0.14"))

    def test_runtime_that_would_misread(self):
        self.set_config("weight_type", "bf16")
        self.assertEqual(self.faults(), [])
        self.assert_fault("bf16", arguments=("--runtime", "0.2.6"))

    def test_serving_ranks(self):
        self.assert_fault("tensor_para_size", arguments=("--serving-tp", "4"), count=None)

    def test_scales_for_other_ranks_are_not_called_those_of_another_run(self):
        shutil.copyfile(self.output / "kv_stats.safetensors", self.weights / "kv_stats.safetensors")
        for ranks in ("1", "4"):
            found = self.faults("--serving-tp", ranks)
            self.assertTrue(any("tensor_para_size = 2" in fault for fault in found), found)
            self.assertFalse(any("different runs" in fault for fault in found), found)
        self.assertNotIn("--tp 1 or --tp 1", " ".join(self.faults("--serving-tp", "1")))

    def test_a_file_of_another_set(self):
        shutil.copyfile(self.output / "kv_stats.safetensors", self.weights / "kv_stats.safetensors")
        self.assertEqual(self.faults(), [])
        other = scales(self.calibrate(TINY / "weights", self.windows(2), name="other"))
        self.assertNotEqual(other[SCALE], scales(self.output)[SCALE])
        (self.weights / SCALE).write_bytes(other[SCALE])
        self.assert_fault(SCALE)

    def test_symmetric_and_asymmetric_mixed(self):
        symmetric = scales(self.calibrate(TINY / "weights", self.windows(1), "--symmetric", name="symmetric"))
        (self.weights / SCALE).write_bytes(symmetric[SCALE])
        self.assert_fault(SCALE)

    def test_every_fault_is_found_at_once(self):
        (self.weights / SCALE).unlink()
        self.write_scale(float("nan"), 0.01, 0.1, 0.01, name="layers.0.past_kv_scale.0.weight")
        self.set_config("quant_policy", "0")
        found = self.faults()
        self.assertEqual(len(found), 3, found)

    def test_a_directory_that_is_not_there(self):
        run = kvcalib("verify", self.folder / "nowhere")
        self.assertEqual(run.code, 1)
        self.assertIn("nowhere", run.err)


class Inspect(ProgramTest):
    def setUp(self):
        super().setUp()
        self.output = Path(shutil.copytree(self.calibrated(), self.folder / "output"))

    def test_table_of_a_directory_and_of_statistics(self):
        for path in (self.output, self.output / "kv_stats.safetensors"):
            lines = self.succeed("inspect", path).out.splitlines()
            rows = [line for line in lines if line.split() and line.split()[0].isdigit()]
            self.assertEqual(len(rows), TINY_LAYERS * TINY_RANKS, lines)
            for index, row in enumerate(rows):
                self.assertEqual([int(cell) for cell in row.split()[:2]], list(divmod(index, TINY_RANKS)))

    def test_json_holds_the_numbers_of_the_files(self):
        stored = [struct.unpack("<4f", data) for _, data in sorted(scales(self.output).items())]
        for path in (self.output, self.output / "kv_stats.safetensors"):
            rows = self.parse_json(self.succeed("inspect", path, "--json").out)["scales"]
            self.assertEqual(len(rows), len(stored))
            for row, (key_scale, key_zero, value_scale, value_zero) in zip(rows, stored):
                text = repr(row)
                for value in (key_scale, key_zero, value_scale, value_zero):
                    self.assertTrue(self.holds(row, value), f"{value} in {text}")

    def test_table_shows_the_ranges(self):
        found, output = statistics(self.output), self.folder / "of-windows"
        self.succeed("export", "--stats", self.output / "kv_stats.safetensors", "--weights", TINY / "weights", "--output",
                     output, "--session-len", 1)
        rows = self.succeed("inspect", output).out.splitlines()[1:]
        for index, row in enumerate(rows[:TINY_LAYERS * TINY_RANKS]):
            layer, rank = divmod(index, TINY_RANKS)
            low, high = map(float, re.search(r"(-?[\d.]+) \.\. (-?[\d.]+)", row).groups())
            # To one step: the table may show the ends that int8 reaches.
            self.assertAlmostEqual(low, found["key.minimum"][layer, rank].min(), delta=(high - low) / 255)
            self.assertAlmostEqual(high, found["key.maximum"][layer, rank].max(), delta=(high - low) / 255)

    def holds(self, tree, value: float) -> bool:
        if isinstance(tree, dict):
            return any(self.holds(each, value) for each in tree.values())
        if isinstance(tree, list):
            return any(self.holds(each, value) for each in tree)
        return isinstance(tree, (int, float)) and abs(tree - value) <= 1e-6 * abs(value)

    def test_directory_of_scales_without_statistics(self):
        (self.output / "kv_stats.safetensors").unlink()
        self.assertIn("layer", self.succeed("inspect", self.output).out.lower())

    def test_a_layer_that_stands_out_is_named(self):
        (self.output / "kv_stats.safetensors").unlink()
        (self.output / "layers.2.past_kv_scale.1.weight").write_bytes(struct.pack("<4f", 40.0, 0.0, 0.01, 0.0))
        outlying = self.parse_json(self.succeed("inspect", self.output, "--json").out)["outlying"]
        self.assertTrue(any("2" in sentence for sentence in outlying), outlying)
        self.assertIn("stands out", self.succeed("inspect", self.output).out)

    def test_a_bias_that_takes_the_range_of_k_is_reported_with_its_channels(self):
        from reference.models import random_model
        model = random_model(3, layers=3, heads=4, kv_heads=2, attention_bias=True)
        bias = model.tensors["model.layers.1.self_attn.k_proj.bias"]
        bias[128 + 5] = 400.0  # kv head 1; in pairs its channel 10, which rotates with 11
        output = self.calibrate(self.write(model, 1, name="biased"), self.windows(4, count=2, length=96, vocab=model.vocab),
                                name="scales-of-biased")
        summary = self.parse_json((output / "summary.json").read_text())
        found = self.parse_json(self.succeed("inspect", output, "--json").out)
        for outlying in (summary["outlying"], found["outlying"]):
            sentences = [sentence for sentence in outlying if "outlier channels" in sentence]
            self.assertEqual(len(sentences), 1, outlying)
            self.assertRegex(sentences[0], r"^layer 1 rank 0: K .* of the 255 steps; farthest are kv head 1 channel 1[01], 1[01]$")
        row = found["scales"][1]
        self.assertLess(row["k_median_steps"], 16)
        self.assertEqual(sorted((each["kv_head"], each["channel"]) for each in row["k_outlier_channels"]),
                         [(1, 10), (1, 11)])

    def test_refuses_what_it_cannot_show(self):
        empty = self.folder / "empty"
        empty.mkdir()
        (self.folder / "text.safetensors").write_text("nothing of the kind")
        for path in (self.folder / "nowhere", empty, self.folder / "text.safetensors"):
            run = kvcalib("inspect", path)
            self.assertEqual(run.code, 1, run.text)
            self.assertIn(path.name, run.err)
            self.assertEqual(run.out, "")


if __name__ == "__main__":
    unittest.main()
