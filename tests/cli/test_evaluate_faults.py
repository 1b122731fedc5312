# SPDX-License-Identifier: Apache-2.0
"""Scales that are wrong, planted: `kvcalib evaluate` shows each in its divergence, names the layer, fails the gate."""

import unittest

import numpy as np

from evaluation import TEXT, EvaluationTest, named, read_report, scale_file, streams_of

STEPS = [0, 2]


def all_steps(factor: float):
    def change(scales):
        scales[..., STEPS] *= factor
    return change


def swap_k_and_v(scales):
    scales[2] = scales[2][:, [2, 3, 0, 1]]


def exchange_layers(scales):
    scales[[1, 3]] = scales[[3, 1]]


def exchange_ranks(scales):
    scales[:, [0, 1]] = scales[:, [1, 0]]


def shift_zero(scales):
    scales[1, 1, 1] += 2 * 255 * scales[1, 1, 0]


def clip_v_of_one(scales):
    scales[3, 0, 2] /= 4


def widen_k_of_one(scales):
    scales[2, 1, 0] *= 8


FAULTS = {"large-steps": all_steps(4), "small-steps": all_steps(1 / 4), "k-and-v": swap_k_and_v,
          "layers": exchange_layers, "ranks": exchange_ranks, "zero": shift_zero, "small-v": clip_v_of_one,
          "large-k": widen_k_of_one}


class Faults(EvaluationTest):
    """One run of right scales and beside them each of the spoilt ones."""

    GATE = 1e-3  # nats

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test = cls()
        test.folder = cls.right_scales.parent
        directories = [test.right("right-ones"), *(test.spoilt(change, name) for name, change in FAULTS.items())]
        cls.run_of_all = test.evaluate("--data", TEXT, "--limit", 16, "--length", 64, *streams_of(*directories),
                                       "--max-kl", cls.GATE, "--output", test.folder / "report")
        cls.all_streams = read_report(test.folder / "report")

    def divergence(self, name: str) -> dict:
        return named(self.all_streams["streams"], name)["kld"]

    def findings(self, name: str) -> str:
        return "\n".join(named(self.all_streams["layers"], name)["findings"])

    def rank(self, name: str, layer: int, rank: int) -> dict:
        return named(self.all_streams["layers"], name)["layers"][layer]["ranks"][rank]

    def check(self, name: str, times: float, finding: str):
        """The divergence is so many times that of the right scales, more than errors explain; the finding says why."""
        right, spoilt = self.divergence("right-ones"), self.divergence(name)
        self.assertGreater(spoilt["mean"], times * right["mean"])
        self.assertAlmostEqual(spoilt["more_than_second_stream"], spoilt["mean"] - right["mean"])
        self.assertGreater(spoilt["more_than_second_stream"], 3 * spoilt["more_than_second_stream_error"])
        sentence, = [each for each in self.all_streams["verdict"] if each.startswith(f"{name}: ")]
        self.assertIn(", more than right-ones's by ", sentence)
        self.assertIn("stands out: ", sentence)
        self.assertRegex(self.findings(name), finding)
        self.assertRegex(self.run_of_all.out, f"Layers of {name}: ")

    def test_each_fails_the_gate(self):
        self.assertEqual(self.run_of_all.code, 1)
        gates = [line for line in self.run_of_all.err.splitlines() if line.startswith("gate: --max-kl 0.001: ")]
        self.assertEqual(len(gates), len(FAULTS), self.run_of_all.err)
        for line, name in zip(gates, FAULTS):
            self.assertIn(f"the mean KLD of {name} is {self.divergence(name)['mean']:.3g}"[:-1], line)

    def test_right_scales_stay_clear(self):
        self.assertIs(self.all_streams["control_is_zero"], True)
        self.assertEqual(self.findings("right-ones"), "")
        self.assertLess(self.divergence("right-ones")["mean"], self.GATE / 2)
        self.assertLess(named(self.all_streams["streams"], "right-ones")["clipped"], 0.01)

    def test_steps_four_times_too_large(self):
        self.check("large-steps", 10, r"only \d+ of the 256 codes are used, as with a step .* times too large")
        self.assertLess(self.divergence("large-steps")["mean"], 26 * self.divergence("right-ones")["mean"])  # about 16
        for layer in range(4):
            for rank in range(2):
                for symbol in "kv":
                    self.assertGreater(self.rank("large-steps", layer, rank)[symbol]["unused"], 70)

    def test_steps_four_times_too_small(self):
        self.check("small-steps", 20, r"% of the values are clipped, as with a step too small.* other layers")
        self.assertGreater(named(self.all_streams["streams"], "small-steps")["clipped"], 1)

    def test_k_and_v_swapped(self):
        self.check("k-and-v", 5, r"layer 2 rank 0 and layer 2 rank 1: the scales of K and V seem to be swapped")

    def test_layers_exchanged(self):
        self.check("layers", 3, r"layers 1 and 3 seem to have each other's scales")

    def test_ranks_exchanged(self):
        self.check("ranks", 3, r"layers? .*\b3\b.*: ranks 0 and 1 seem to have each other's scales")

    def test_a_zero_shifted_by_two_ranges(self):
        self.check("zero", 10, r"layer 1 rank 1: K: .*clipped")
        self.assertGreater(self.rank("zero", 1, 1)["k"]["clipped"], 90)
        self.assertLess(self.rank("zero", 1, 0)["k"]["clipped"], 0.1)

    def test_one_tensor_clipped(self):
        self.check("small-v", 3, r"layer 3 rank 0: V: .*% of the values are clipped, as with a step too small")

    def test_one_step_too_large(self):
        self.check("large-k", 1.5, r"layer 2 rank 1: K: only \d+ of the 256 codes are used")

    def test_the_profile_has_no_drift_in_it(self):
        """Errors of a layer's own attention are those of the right scales everywhere but where the fault is."""
        for layer in range(4):
            for rank in range(2):
                one, other = self.rank("right-ones", layer, rank), self.rank("small-v", layer, rank)
                with self.subTest(layer=layer, rank=rank):
                    self.assertEqual(one["k"]["error"], other["k"]["error"])
                    if (layer, rank) == (3, 0):
                        self.assertGreater(other["v"]["error"], 3 * one["v"]["error"])
                        self.assertGreater(other["error"], 2 * one["error"])
                    else:
                        self.assertEqual((one["v"]["error"], one["error"]), (other["v"]["error"], other["error"]))
        hidden = [[layer["hidden_error"] for layer in named(self.all_streams["layers"], name)["layers"]]
                  for name in ("right-ones", "small-v")]
        self.assertEqual(hidden[0][:3], hidden[1][:3])
        self.assertGreater(hidden[1][3], hidden[0][3])


class Refused(EvaluationTest):
    """Scales that no runtime would take as they are meant."""

    DATA = ("--data", TEXT, "--limit", 1, "--length", 16)

    def check(self, directory, *words: str, arguments=()):
        output = self.folder / "report"
        run = self.evaluate(*self.DATA, "--scales", directory, "--output", output, *arguments)
        self.assert_refused(run, 1, *words)
        self.assertFalse(output.exists())

    def test_numbers_that_no_scale_has(self):
        for number, (place, value) in enumerate(((0, np.nan), (0, 0), (2, -0.25), (2, np.inf), (1, np.nan),
                                                 (3, np.inf))):
            with self.subTest(place=place, value=value):
                directory = self.spoilt(lambda scales: scales[2, 1].__setitem__(place, value), f"of-{number}")
                self.check(directory, str(scale_file(directory, 2, 1)), "K" if place < 2 else "V",
                           "expected a positive and a finite number")

    def test_files_of_two_floats_for_a_release_that_reads_four(self):
        directory = self.right("two")
        for file in directory.iterdir():
            np.fromfile(file, "<f4")[STEPS].tofile(file)
        self.check(directory, str(directory), "hold 2 values", "v0.3.0 reads 4", "--runtime")
        self.assertEqual(self.evaluate(*self.DATA, "--scales", directory, "--runtime", "0.0.2").code, 0)

    def test_files_of_four_floats_for_a_release_that_reads_two(self):
        directory = self.right("four")
        self.check(directory, str(directory), "hold 4 values", "v0.0.2 reads 2", arguments=("--runtime", "0.0.2"))

    def test_one_file_of_two_floats(self):
        directory = self.right("mixed")
        np.fromfile(scale_file(directory, 1, 0), "<f4")[STEPS].tofile(scale_file(directory, 1, 0))
        self.check(directory, str(scale_file(directory, 1, 0)))

    def test_a_missing_file(self):
        directory = self.right("missing")
        scale_file(directory, 1, 1).unlink()
        self.check(directory, scale_file(directory, 1, 1).name)

    def test_a_file_cut_short(self):
        directory = self.right("short")
        scale_file(directory, 3, 0).write_bytes(b"\0" * 15)
        self.check(directory, str(scale_file(directory, 3, 0)))

    def test_scales_of_another_number_of_layers(self):
        fewer, more = self.right("fewer"), self.right("more")
        for rank in range(2):
            scale_file(fewer, 3, rank).unlink()
            scale_file(more, 4, rank).write_bytes(scale_file(more, 3, rank).read_bytes())
        self.check(fewer, str(fewer), "3 layers", "the model 4")
        self.check(more, str(more), "5 layers", "the model 4")

    def test_scales_of_more_ranks_than_heads(self):
        directory = self.right("three")
        for layer in range(4):
            scale_file(directory, layer, 2).write_bytes(scale_file(directory, layer, 0).read_bytes())
        self.check(directory, str(directory), "3 ranks", "2 kv heads")

    def test_a_directory_without_scales(self):
        empty = self.folder / "empty"
        empty.mkdir()
        self.check(empty, str(empty))
        self.check(self.folder / "nowhere", str(self.folder / "nowhere"))


if __name__ == "__main__":
    unittest.main()
