# SPDX-License-Identifier: Apache-2.0
"""Every refusal: its exit code and message, and that it changed nothing."""

import gzip
import json
import os
import resource
import shutil
import subprocess
import unittest
from pathlib import Path

import numpy as np

from program import PROGRAM, TINY, ProgramTest, digests, environment, kvcalib, shape_options
from reference.models import random_model
from reference.turbomind_writer import edit_tensor

WRONG_USAGE, FAILED = 2, 1


class Refusals(ProgramTest):
    def setUp(self):
        super().setUp()
        self.ids = self.windows(name="windows")
        self.output = self.folder / "output"

    def assert_refused(self, code: int, *words: str, weights: Path = TINY / "weights", data=None, arguments=(),
                       output: bool = True, command: str = "calibrate"):
        """The command fails with `code` and a message on stderr that holds `words`; the disk is as before."""
        base = [command]
        if command == "calibrate":
            data = self.ids if data is None else data
            base += ["--weights", weights, "--data", data, "--quiet", *shape_options(data)]
            base += [] if "--devices" in arguments else ["--devices", "cpu"]
        if output:
            base += ["--output", self.output]
        before, around = digests(weights), digests(self.folder)
        run = kvcalib(*base, *arguments)
        text = " ".join(map(str, arguments))
        self.assertEqual(run.code, code, f"{text}: {run.text}")
        self.assertEqual(run.out, "", "a refusal belongs on stderr")
        self.assertIn("error", run.err)
        for word in words:
            self.assertIn(word, run.err)
        self.assertNotIn("terminate called", run.err)
        self.assertEqual(digests(weights), before, "the weights directory has changed")
        self.assertEqual(digests(self.folder), around, "something was left")
        return run

    def replaced(self, key: str, value: str) -> Path:
        """A copy of the embedded model with one key of config.ini changed."""
        weights = self.tiny(f"{key}-{value}")
        lines = [f"{key} = {value}" if line.split(" = ")[0] == key else line
                 for line in (weights / "config.ini").read_text().splitlines()]
        (weights / "config.ini").write_text("\n".join(lines) + "\n")
        return weights


class WrongUsage(Refusals):
    def test_unknown_option_names_its_nearest_neighbour(self):
        self.assert_refused(WRONG_USAGE, "--sample", "--samples", arguments=["--sample", "3"])
        self.assert_refused(WRONG_USAGE, "--simetric", "--symmetric", arguments=["--simetric"])
        self.assert_refused(WRONG_USAGE, "--inplace", "--in-place", arguments=["--inplace"])

    def test_unknown_command_names_its_nearest_neighbour(self):
        run = kvcalib("calibrat")
        self.assertEqual(run.code, WRONG_USAGE)
        self.assertIn("calibrate", run.err)

    def test_both_places_or_none(self):
        self.assert_refused(WRONG_USAGE, "--output", "--in-place", arguments=["--in-place"])
        self.assert_refused(WRONG_USAGE, "--output", "--in-place", output=False)

    def test_missing_required_options(self):
        for arguments, missing in (([], "--weights"), (["--weights", TINY / "weights"], "--data")):
            run = kvcalib("calibrate", *arguments, "--output", self.output)
            self.assertEqual(run.code, WRONG_USAGE, run.err)
            self.assertIn(missing, run.err)
        run = kvcalib("export", "--weights", TINY / "weights", "--output", self.output)
        self.assertEqual(run.code, WRONG_USAGE)
        self.assertIn("--stats", run.err)
        self.assertEqual(kvcalib("verify").code, WRONG_USAGE)
        self.assertEqual(kvcalib("inspect").code, WRONG_USAGE)

    def test_bad_numbers(self):
        for option in ("--samples", "--length", "--seed", "--micro-batch", "--serving-tp"):
            for value in ("twelve", "3x", "", "1.5", "99999999999999999999", "-1"):
                with self.subTest(option=option, value=value):
                    self.assert_refused(WRONG_USAGE, option, arguments=[f"{option}={value}"])
        for option in ("--samples", "--length", "--serving-tp"):
            self.assert_refused(WRONG_USAGE, option, "0", arguments=[option, "0"])

    def test_bad_devices(self):
        for devices in ("cpu:0", "cpu:x", "tpu"):
            with self.subTest(devices=devices):
                self.assert_refused(WRONG_USAGE, devices, arguments=["--devices", devices])

    def test_a_preset_has_no_weights(self):
        self.assert_refused(WRONG_USAGE, "--dry-run", weights=TINY.parent / "internlm-104b.json")


class BadWeights(Refusals):
    def test_missing_directory_and_config(self):
        self.assert_refused(FAILED, "nowhere", weights=self.folder / "nowhere")
        weights = self.tiny()
        (weights / "config.ini").unlink()
        self.assert_refused(FAILED, "config.ini", weights=weights)

    def test_missing_weight_file(self):
        for name in ("layers.2.attention.wo.1.weight", "tok_embeddings.weight", "layers.0.ffn_norm.weight"):
            with self.subTest(name=name):
                weights = self.tiny(f"without-{name.split('.')[1]}-{len(name)}")
                (weights / name).unlink()
                self.assert_refused(FAILED, name, weights=weights)

    def test_file_of_another_size(self):
        name = "layers.1.feed_forward.w2.0.weight"
        whole = (TINY / "weights" / name).read_bytes()
        for size in (len(whole) - 2, len(whole) + 2, 0):
            weights = self.tiny(f"of-{size}")
            (weights / name).write_bytes((whole + b"\0\0")[:size])
            self.assert_refused(FAILED, name, str(size), str(len(whole)), weights=weights)

    def test_missing_bias_file(self):
        for name in ("layers.0.attention.w_qkv.1.bias", "layers.1.attention.wo.1.bias"):
            weights = self.write(random_model(40, layers=2, attention_bias=True), 2, name=name)
            (weights / name).unlink()
            self.assert_refused(FAILED, name, weights=weights)

    def test_int4_directory(self):
        run = self.assert_refused(FAILED, "int4", weights=self.replaced("weight_type", "int4"))
        self.assertIn("fp16", run.err)
        packed = self.tiny("packed")
        (packed / "layers.0.attention.w_qkv.0.qweight").write_bytes(b"\0" * 64)
        self.assert_refused(FAILED, "int4", "qweight", weights=packed)

    def test_config_that_contradicts_itself(self):
        for key, value in (("head_num", "0"), ("num_layer", "four"), ("kv_head_num", "3"), ("norm_eps", "nan"),
                           ("tensor_para_size", "3"), ("weight_type", "fp8"), ("rotary_embedding", "64")):
            with self.subTest(key=key, value=value):
                self.assert_refused(FAILED, key, value, weights=self.replaced(key, value))

    def test_nan_in_a_weight_names_layer_and_tensor(self):
        for file in ("layers.2.attention.w_qkv.1.weight", "layers.1.feed_forward.w2.0.weight",
                     "layers.0.attention_norm.weight"):
            for value in (float("nan"), float("inf")):
                with self.subTest(file=file, value=value):
                    weights = self.tiny(f"with-{value}-{file.split('.')[1]}")
                    edit_tensor(weights / file, 57, value)
                    self.assert_refused(FAILED, file, "NaN", weights=weights)

    def test_nan_in_the_embedding(self):
        weights = self.tiny()
        edit_tensor(weights / "tok_embeddings.weight", int(np.load(self.ids)[1, 3]) * 256, float("nan"))
        self.assert_refused(FAILED, "tok_embeddings", weights=weights)

    def test_keys_beyond_the_16_bit_range(self):
        weights = self.write(random_model(41, layers=2, key_gain=40000.0), 2)
        np.save(self.folder / "small.npy", np.load(self.ids) % 320)
        # Each weight is below 65504, K is not.
        self.assert_refused(FAILED, "layer 0", weights=weights, data=self.folder / "small.npy")

    def test_every_rank_stops_when_one_finds_a_fault(self):
        weights = self.tiny()
        edit_tensor(weights / "layers.2.attention.w_qkv.1.weight", 57, float("nan"))
        self.assert_refused(FAILED, "layers.2.attention.w_qkv.1.weight", weights=weights,
                            arguments=["--devices", "cpu:2"])


class BadTarget(Refusals):
    def test_bf16_before_v0_3_0(self):
        weights = self.write(random_model(42, layers=1, weight_type="bf16"), 1)
        self.assert_refused(FAILED, "bf16", "0.2.6", weights=weights, arguments=["--runtime", "0.2.6"])

    def test_releases_without_scale_files(self):
        for version in ("0.4.0", "0.5.1", "1.0.0"):
            self.assert_refused(FAILED, version, arguments=["--runtime", version])
        for version in ("0.0.1", "0.3", "latest", "0.3.0.1"):
            self.assert_refused(FAILED, version, arguments=["--runtime", version])

    def test_heads_that_do_not_divide_over_the_serving_ranks(self):
        weights = self.write(random_model(43, layers=1, heads=4, kv_heads=2, intermediate=256), 1)
        self.assert_refused(FAILED, "kv_head_num", "4", weights=weights, arguments=["--serving-tp", "4"])
        self.assert_refused(FAILED, "head_num", "3", weights=weights, arguments=["--serving-tp", "3"])

    def test_directories_cut_for_other_ranks(self):
        self.assert_refused(FAILED, "tensor_para_size", "--tp", arguments=["--serving-tp", "1"])

    def test_output_that_exists(self):
        self.output.mkdir()
        (self.output / "notes.txt").write_text("mine\n")
        self.assert_refused(FAILED, "output")
        # --force replaces an earlier output, never a folder of something else.
        self.assert_refused(FAILED, "notes.txt", arguments=["--force"])

    def test_output_without_a_parent(self):
        self.assert_refused(FAILED, "nowhere", output=False, arguments=["--output", self.folder / "nowhere/output"])

    def test_weights_directory_that_cannot_be_written(self):
        if os.geteuid() == 0:
            self.skipTest("root may write everywhere")
        weights = self.tiny()
        weights.chmod(0o555)
        self.addCleanup(weights.chmod, 0o755)
        self.assert_refused(FAILED, str(weights), weights=weights, output=False, arguments=["--in-place"])

    def test_disk_that_takes_no_more(self):
        """A limit on the size of a file stands for a full disk: both fail in write()."""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

        for place in (["--output", self.output], ["--in-place"]):
            weights = self.tiny(f"workspace-{len(place)}")
            before, around = digests(weights), digests(self.folder)
            # Python ignores SIGXFSZ, and so does the program when the signals are not restored.
            run = subprocess.run([PROGRAM, "calibrate", "--weights", weights, "--data", self.ids, "--devices", "cpu",
                                  *map(str, shape_options(self.ids)), *place], capture_output=True, text=True,
                                 timeout=120, env=environment(), preexec_fn=limit, restore_signals=False)
            self.assertEqual(run.returncode, FAILED, run.stderr)
            self.assertIn("error", run.stderr)
            self.assertEqual(digests(weights), before)
            self.assertEqual(digests(self.folder), around)

    def test_statistics_of_another_model(self):
        other = self.write(random_model(44, layers=1, heads=2, intermediate=256, vocab=2048), 2)
        output = self.calibrate(other, self.ids, name="other")
        self.assert_refused(FAILED, "kv_stats.safetensors", command="export",
                            arguments=["--stats", output / "kv_stats.safetensors", "--weights", TINY / "weights"])

    def test_statistics_that_are_none(self):
        output = self.calibrate(TINY / "weights", self.ids, name="good")
        good = (output / "kv_stats.safetensors").read_bytes()
        for name, data in (("empty", b""), ("short", good[:-8]), ("text", b"not a statistics file at all"),
                           ("huge", b"\xff" * 8 + good[8:])):
            file = self.folder / f"{name}.safetensors"
            file.write_bytes(data)
            self.assert_refused(FAILED, file.name, command="export",
                                arguments=["--stats", file, "--weights", TINY / "weights"])


class BadData(Refusals):
    def text(self, name: str, *texts: str) -> Path:
        file = self.folder / name
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        return file

    def save(self, name: str, ids) -> Path:
        np.save(self.folder / name, ids)
        return self.folder / name

    def test_too_little_text_says_how_much_there_is(self):
        run = self.assert_refused(FAILED, "2048", data=self.text("short.jsonl", "One line.", "Another one."))
        self.assertIn("--pack", run.err)
        self.assert_refused(FAILED, "2048", data=self.text("packed.jsonl", "One line.", "Another one."),
                            arguments=["--pack"])

    def test_too_short_a_stream(self):
        self.assert_refused(FAILED, "100", "2048", data=self.save("stream.npy", np.arange(100, dtype=np.int32)))

    def test_empty_files(self):
        self.assert_refused(FAILED, "empty.jsonl", data=self.text("empty.jsonl"))
        self.assert_refused(FAILED, "empty.npy", data=self.save("empty.npy", np.zeros((0, 64), np.int32)))
        (self.folder / "nothing.npy").write_bytes(b"")
        self.assert_refused(FAILED, "nothing.npy", data=self.folder / "nothing.npy")

    def test_unknown_extension(self):
        run = self.assert_refused(FAILED, "text.parquet", data=self.text("text.parquet", "One line."))
        self.assertIn(".jsonl", run.err)

    def test_files_that_are_not_there(self):
        self.assert_refused(FAILED, "nowhere.npy", data=self.folder / "nowhere.npy")
        self.assert_refused(FAILED, "part-*.jsonl", data=self.folder / "part-*.jsonl")

    def test_lines_without_text(self):
        file = self.folder / "bad.jsonl"
        for line in ('{"url": "x"}', "not json", '{"text": 3}'):
            file.write_text(f'{{"text": "good"}}\n{line}\n', encoding="utf-8")
            self.assert_refused(FAILED, "bad.jsonl", "2", data=file, arguments=["--samples", "1", "--length", "2"])

    def test_damaged_compression(self):
        file = self.folder / "bad.json.gz"
        whole = gzip.compress((TINY / "text.jsonl").read_bytes())
        for data in (whole[:len(whole) // 2], b"no gzip at all", b""):
            file.write_bytes(data)
            self.assert_refused(FAILED, "bad.json.gz", data=file, arguments=["--length", "64"])

    def test_ids_outside_the_vocabulary(self):
        ids = np.load(self.ids)
        for value in (2048, -1):
            ids[2, 5] = value
            self.assert_refused(FAILED, "spoilt.npy", str(value), data=self.save("spoilt.npy", ids))

    def test_ids_of_another_type_or_shape(self):
        for name, ids in (("float.npy", np.zeros((2, 64), np.float32)), ("cube.npy", np.zeros((2, 4, 8), np.int32)),
                          ("short.npy", np.zeros((2, 64), np.int16))):
            self.assert_refused(FAILED, name, data=self.save(name, ids))
        np.save(self.folder / "columns.npy", np.asfortranarray(np.ones((4, 64), np.int32)))
        run = kvcalib("calibrate", "--weights", TINY / "weights", "--data", self.folder / "columns.npy", "--devices",
                      "cpu", "--samples", 4, "--length", 64, "--output", self.output)
        self.assertIn(run.code, (0, FAILED), "column-major ids are read rightly or refused")

    def test_text_without_a_tokenizer(self):
        weights = self.tiny()
        shutil.rmtree(weights.parent / "tokenizer")
        self.assert_refused(FAILED, "tokenizer", "--tokenizer", weights=weights, data=TINY / "text.jsonl")
        self.assert_refused(FAILED, "none.model", weights=weights, data=TINY / "text.jsonl",
                            arguments=["--tokenizer", self.folder / "none.model"])
        spoilt = self.folder / "spoilt.model"
        spoilt.write_bytes(b"no model")
        self.assert_refused(FAILED, "spoilt.model", weights=weights, data=TINY / "text.jsonl",
                            arguments=["--tokenizer", spoilt])


if __name__ == "__main__":
    unittest.main()
