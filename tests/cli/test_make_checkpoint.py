# SPDX-License-Identifier: Apache-2.0
"""scripts/make_checkpoint.py: random weights of a preset, for benchmarks."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from program import ROOT, STOP_AT_STEPS, ProgramTest, Run, digests, environment, run_program, statistics, stops
from reference.models import Model
from reference.turbomind_writer import config_ini, weight_files

SCRIPT = ROOT / "scripts/make_checkpoint.py"
PRESET = {"name": "small", "layers": 5, "hidden": 256, "heads": 4, "kv_heads": 2, "head_dim": 64, "intermediate": 688,
          "vocab": 321, "norm_eps": 1e-5, "rope_theta": 10000.0, "weight_type": "fp16", "attention_bias": False,
          "max_position_embeddings": 128, "tensor_para_size": 1}


class MakeCheckpoint(ProgramTest):
    def preset(self, **changes) -> Path:
        """A preset's file; changes to None take a key away."""
        values = {name: value for name, value in (PRESET | changes).items() if value is not None}
        file = self.folder / "preset.json"
        file.write_text(json.dumps(values))
        return file

    def run_script(self, preset: Path, *arguments, name: str = "weights") -> Run:
        return run_program(Path(sys.executable), SCRIPT, "--config", preset, "--output", self.folder / name, *arguments)

    def make(self, preset: Path, *arguments, name: str = "weights") -> Path:
        run = self.run_script(preset, *arguments, name=name)
        self.assertEqual(run.code, 0, run.err)
        self.assertEqual(len(run.out.splitlines()), 1, run.out)
        return self.folder / name

    def assert_refused(self, run: Run, *words: str, left: tuple = ("preset.json",)):
        self.assertEqual(run.code, 1, run.text)
        self.assertEqual(len(run.err.splitlines()), 1, run.err)
        for word in ("make_checkpoint.py: error: ", *words):
            self.assertIn(word, run.err)
        self.assertEqual(sorted(entry.name for entry in self.folder.iterdir()), sorted(left))


class Weights(MakeCheckpoint):
    def assert_calibrates(self, weights: Path, ids: Path):
        output = self.calibrate(weights, ids, "--runtime", "0.3.0", name=f"{weights.name}-output")
        tensors = statistics(output)
        self.assertTrue(tensors)
        for name, tensor in tensors.items():
            self.assertEqual(tensor.shape[0], PRESET["layers"], name)
            self.assertTrue(np.isfinite(tensor).all(), name)
            self.assertTrue((abs(tensor).max(axis=(1, 2)) > 1).all(), name)
            self.assertLess(abs(tensor).max(), 20, name)

    def test_calibrates_with_every_option(self):
        for weight_type in ("fp16", "bf16"):
            for bias in (False, True):
                for ranks, distinct in ((1, 1), (2, 2), (2, None)):
                    with self.subTest(weight_type=weight_type, bias=bias, ranks=ranks, distinct=distinct):
                        name = f"{weight_type}-{bias}-{ranks}-{distinct}"
                        ids = self.folder / f"{name}.npy"
                        links = ["--distinct-layers", distinct] if distinct else []
                        weights = self.make(self.preset(weight_type=weight_type, attention_bias=bias), "--tp", ranks,
                                            *links, "--ids", ids, "--windows", 3, "--length", 40, name=name)
                        self.assert_calibrates(weights, ids)

    def test_config_is_what_the_converter_writes(self):
        weights = self.make(self.preset(attention_bias=True, weight_type="bf16"), "--tp", 2, "--layers", 3)
        model = Model(3, 4, 2, 64, 688, 321, max_position_embeddings=128, session_len=136, attention_bias=True,
                      weight_type="bf16", template="small")
        self.assertEqual((weights / "config.ini").read_text(), config_ini(model, 2))

    def test_ranks_come_from_the_preset(self):
        weights = self.make(self.preset(tensor_para_size=2, layers=1))
        self.assertTrue((weights / "layers.0.attention.wo.1.weight").exists())
        self.assertFalse((weights / "layers.0.attention.wo.2.weight").exists())

    def test_every_rank_has_the_same_output_bias(self):
        weights = self.make(self.preset(attention_bias=True), "--tp", 2)
        first, second = ((weights / f"layers.1.attention.{name}.bias").read_bytes() for name in ("wo.0", "wo.1"))
        self.assertEqual(first, second)
        first, second = ((weights / f"layers.1.attention.{name}.bias").read_bytes() for name in ("w_qkv.0", "w_qkv.1"))
        self.assertNotEqual(first, second)

    def test_numbers_have_the_spectrum_of_independent_ones(self):
        weights = self.make(self.preset(layers=1))
        up = np.fromfile(weights / "layers.0.feed_forward.w3.0.weight", "<f2").astype(np.float32).reshape(256, 688)
        values = np.linalg.svd(up, compute_uv=False)
        aspect = (688 / 256) ** 0.5
        self.assertLess(values[0], 1.15 * (aspect + 1))
        self.assertGreater(values[-1], 0.85 * (aspect - 1))

    def test_ids_are_those_of_the_vocabulary(self):
        ids = self.folder / "ids.npy"
        self.make(self.preset(), "--ids", ids, "--windows", 6, "--length", 500)
        windows = np.load(ids)
        self.assertEqual((windows.dtype, windows.shape), (np.int32, (6, 500)))
        self.assertEqual((windows.min(), windows.max()), (0, PRESET["vocab"] - 1))


class Links(MakeCheckpoint):
    def inodes(self, weights: Path, layer: int) -> dict[str, int]:
        prefix = f"layers.{layer}."
        return {file.name.removeprefix(prefix): file.stat().st_ino for file in weights.glob(prefix + "*")}

    def test_layers_are_hard_links_to_the_first(self):
        for distinct in (1, 2):
            with self.subTest(distinct=distinct):
                weights = self.make(self.preset(attention_bias=True), "--tp", 2, "--distinct-layers", distinct,
                                    name=f"links-{distinct}")
                layers = [self.inodes(weights, layer) for layer in range(PRESET["layers"])]
                for layer, inodes in enumerate(layers):
                    self.assertEqual(len(inodes), 16)
                    self.assertEqual(inodes, layers[layer % distinct])
                numbers = {inode for inodes in layers for inode in inodes.values()}
                self.assertEqual(len(numbers), 16 * distinct)

    def test_all_layers_differ_by_default(self):
        weights = self.make(self.preset(), "--tp", 2)
        contents = {file.read_bytes() for file in weight_files(weights)}
        self.assertEqual(len(contents), len(weight_files(weights)))

    def test_the_line_tells_what_was_written(self):
        run = self.run_script(self.preset(), "--distinct-layers", 2)
        real = {file.stat().st_ino: file.stat().st_size for file in weight_files(self.folder / "weights")}
        self.assertIn(f"weights: {sum(real.values())} bytes in ", run.out)
        self.assertIn(" GB/s; 2 real and 3 linked layers", run.out)


class Seed(MakeCheckpoint):
    def test_same_seed_same_bytes(self):
        one = self.make(self.preset(), "--seed", 7, "--tp", 2, name="one")
        other = self.make(self.preset(), "--seed", 7, "--tp", 2, name="other")
        self.assertEqual(digests(one), digests(other))

    def test_other_seed_other_bytes_in_every_file(self):
        one, other = (digests(self.make(self.preset(attention_bias=True), "--seed", seed, name=str(seed)))
                      for seed in (0, 1))
        self.assertEqual(set(one), set(other))
        self.assertEqual([name for name in one if one[name] == other[name]], ["config.ini"])


class Refusals(MakeCheckpoint):
    def test_output_that_is_not_empty(self):
        (self.folder / "weights").mkdir()
        (self.folder / "weights/mine").write_text("mine")
        self.assert_refused(self.run_script(self.preset()), "weights", "is there already",
                            left=("preset.json", "weights"))
        self.assertEqual((self.folder / "weights/mine").read_text(), "mine")

    def test_empty_output_is_taken(self):
        (self.folder / "weights").mkdir()
        self.assertTrue((self.make(self.preset()) / "config.ini").exists())

    def test_output_without_a_parent(self):
        self.assert_refused(self.run_script(self.preset(), name="none/weights"), "none", "is not there")

    def test_ids_that_are_there(self):
        file = self.windows()
        run = self.run_script(self.preset(), "--ids", file, "--windows", 1, "--length", 1)
        self.assert_refused(run, "--ids", "is there already", left=("preset.json", file.name))

    def test_ranks_that_do_not_divide(self):
        self.assert_refused(self.run_script(self.preset(), "--tp", 3), "heads is 4", "3 ranks", "--tp")
        self.assert_refused(self.run_script(self.preset(), "--tp", 4), "kv_heads is 2", "4 ranks", "--tp")
        self.assert_refused(self.run_script(self.preset(intermediate=689), "--tp", 2), "intermediate is 689")
        self.assert_refused(self.run_script(self.preset(kv_heads=3)), "kv_heads = 3")

    def test_bad_presets(self):
        for changes, word in (({"layers": None}, "has no 'layers'"), ({"layers": 0}, "layers is 0"),
                              ({"layers": True}, "layers is true"), ({"heads": "4"}, 'heads is "4"'),
                              ({"hidden": 255}, "hidden is 255"),
                              ({"head_dim": 512, "hidden": 2048}, "head_dim is 512"),
                              ({"weight_type": "int4"}, "int4"), ({"attention_bias": 1}, "attention_bias is 1"),
                              ({"norm_eps": -1}, "norm_eps is -1"),
                              ({"rope_theta": float("nan")}, "rope_theta is NaN")):
            with self.subTest(changes=changes):
                self.assert_refused(self.run_script(self.preset(**changes)), "preset.json", word)
        for text in ("{", "[]"):
            (self.folder / "preset.json").write_text(text)
            self.assert_refused(self.run_script(self.folder / "preset.json"), "preset.json", "expected")
        self.assert_refused(self.run_script(self.folder / "none.json"), "none.json")

    def test_more_distinct_layers_than_layers(self):
        self.assert_refused(self.run_script(self.preset(), "--distinct-layers", 6), "--distinct-layers 6", "5 layers")

    def test_no_space(self):
        run = self.run_script(self.preset(vocab=1 << 45))
        self.assert_refused(run, "GB are needed", "free")

    def test_nothing_is_left_of_a_write_that_fails(self):
        run = run_program(Path("/bin/sh"), "-c", 'ulimit -f 100 && exec "$0" "$@"', sys.executable, SCRIPT, "--config",
                          self.preset(), "--output", self.folder / "weights")
        self.assert_refused(run, "File too large")

    def test_nothing_is_left_of_a_run_that_is_ended(self):
        weights = self.folder / "weights"
        running = subprocess.Popen([sys.executable, SCRIPT, "--config", self.preset(), "--output", weights],
                                   env=environment(LD_PRELOAD=str(STOP_AT_STEPS), KVCALIB_STOP_BELOW=str(weights)))
        self.addCleanup(running.kill)
        ended = False
        for _ in stops(running):  # which also stops where files go again
            if not ended and list(weights.glob("*")):
                running.terminate()
                ended = True
        self.assertTrue(ended)
        self.assertEqual(running.returncode, 128 + signal.SIGTERM)
        self.assertEqual([entry.name for entry in self.folder.iterdir()], ["preset.json"])

    def test_wrong_usage(self):
        preset = self.preset()
        for arguments in (("--tp", 0), ("--seed", -1), ("--windows", 2), ("--ids", self.folder / "a.npy"),
                          ("--ids", self.folder / "a.txt", "--windows", 1, "--length", 1), ("--distinct-layers", 0),
                          ("--unknown",)):
            run = self.run_script(preset, *arguments)
            self.assertEqual(run.code, 2, run.text)
            self.assertFalse((self.folder / "weights").exists())
