# SPDX-License-Identifier: Apache-2.0
"""kvcalib equalise: the same function with an even cache, by the formulas, for every layout of weights."""

import dataclasses
import json
import os
import shutil
import signal
import unittest
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from program import (PROGRAM, SHARED, TINY, ProgramTest, config_values, digests, kvcalib, scales, start_stepped,
                     statistics, stops)
from reference.equalise import equalised_tensors
from reference.families import DTYPES, published, random_decoder, save
from reference.models import random_model
from reference.session import turned_ranges
from reference.turbomind_writer import weight_files, write_directory

SHAPE = dict(layers=2, hidden=128, heads=4, kv_heads=2, head_dim=32, intermediate=96, vocab=200)
NAME = "kv_stats.safetensors"


def model_files(directory: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(directory).items() if name != NAME}


def tensors_of(directory: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in directory.glob("*.safetensors") if file.name != NAME
            for name, tensor in load_file(file).items()}


def logits(directory: Path, ids: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="eager")
    with torch.inference_mode():
        return model(torch.from_numpy(ids.astype(np.int64))).logits


def turned(directory: Path) -> dict[str, np.ndarray]:
    """The ranges of a calibration, with K's pairs turned as far as sessions turn them that are longer than windows."""
    with safe_open(directory / NAME, "pt") as file:
        provenance = json.loads(file.metadata()["provenance"])
    model, length = provenance["model"], provenance["model"]["session_length"]
    if length <= provenance["length"]:
        return statistics(directory)
    frequencies = model["rope_theta"] ** (-np.arange(0, model["head_dim"], 2) / model["head_dim"])
    return turned_ranges(statistics(directory), frequencies * (length - 1), torch.float32)


class EqualiseTest(ProgramTest):
    def statistics_of(self, weights: Path, vocab: int, name: str = "calibrated", seed: int = 1) -> Path:
        ids = self.windows(seed, count=2, length=48, vocab=vocab)
        return self.calibrate(weights, ids, name=name)

    def equalise(self, weights: Path, calibrated: Path, *arguments, name: str = "even") -> Path:
        self.succeed("equalise", "--weights", weights, "--stats", calibrated / NAME, "--output", self.folder / name,
                     "--quiet", *arguments)
        return self.folder / name


class Formulas(EqualiseTest):
    def check_family(self, architecture: str, exact: bool = False, **changes):
        decoder = random_decoder(3, architecture, **SHAPE | changes)
        source = save(decoder, self.folder / "source", files=2)
        calibrated = self.statistics_of(source, decoder.vocab)
        even = self.equalise(source, calibrated, *(["--exact"] if exact else []))
        dtype = DTYPES[decoder.dtype]
        expected = published(dataclasses.replace(
            decoder, tensors=equalised_tensors(decoder, turned(calibrated), dtype, exact)))
        found = tensors_of(even)
        self.assertEqual(set(found), set(expected))
        for name, tensor in expected.items():
            self.assertTrue(torch.equal(found[name], tensor.to(dtype)), name)
        self.assertEqual((even / "config.json").read_bytes(), (source / "config.json").read_bytes())
        changed = {name for name, tensor in published(decoder).items() if not torch.equal(tensor.to(dtype), found[name])}
        for name in ("source", "calibrated", "even"):
            shutil.rmtree(self.folder / name)
        return changed

    def test_of_every_layout_of_hugging_face(self):
        for architecture, changes in (
                ("LlamaForCausalLM", dict(dtype="float16")), ("LlamaForCausalLM", dict(attention_bias=True)),
                ("LlamaForCausalLM", dict(head_dim=64, kv_heads=4)), ("Qwen2ForCausalLM", dict(dtype="bfloat16")),
                ("Qwen3ForCausalLM", dict(dtype="float16")), ("InternLM2ForCausalLM", dict(dtype="bfloat16")),
                ("QWenLMHeadModel", dict(kv_heads=4)), ("BaiChuanForCausalLM", dict(kv_heads=4, dtype="float16"))):
            with self.subTest(architecture=architecture, **changes):
                self.assertTrue(self.check_family(architecture, **changes))

    def test_of_powers_of_two(self):
        for architecture, changes in (("LlamaForCausalLM", dict(dtype="float16")),
                                      ("LlamaForCausalLM", dict(dtype="bfloat16", attention_bias=True)),
                                      ("Qwen3ForCausalLM", dict(dtype="bfloat16"))):
            with self.subTest(architecture=architecture, **changes):
                changed = self.check_family(architecture, exact=True, **changes)
                self.assertTrue(changed or changes["dtype"] == "float16")

    def test_of_turbomind_for_any_ranks(self):
        for changes in (dict(heads=4, kv_heads=2), dict(heads=2, attention_bias=True, weight_type="bf16")):
            model = random_model(5, layers=2, intermediate=96, vocab=322, **changes)
            dtype = torch.bfloat16 if model.weight_type == "bf16" else torch.float16
            calibrated = self.statistics_of(self.write(model, 1, "one"), model.vocab)
            for exact in (False, True):
                tensors = equalised_tensors(model, turned(calibrated), dtype, exact)
                for ranks in (1, 2):
                    source = self.write(model, ranks, "source")
                    even = self.equalise(source, calibrated, *(["--exact"] if exact else []))
                    expected = write_directory(dataclasses.replace(model, tensors=tensors), self.folder / "expected",
                                               ranks)
                    self.assertEqual(model_files(even), model_files(expected))
                    for name in ("source", "even", "expected"):
                        shutil.rmtree(self.folder / name)
            for name in ("one", "calibrated"):
                shutil.rmtree(self.folder / name)


class SameFunction(EqualiseTest):
    def test_logits_in_fp32(self):
        decoder = random_decoder(1, "LlamaForCausalLM", **SHAPE)
        source = save(decoder, self.folder / "source")
        even = self.equalise(source, self.statistics_of(source, decoder.vocab))
        ids = np.load(self.windows(9, count=2, length=48, vocab=decoder.vocab))
        torch.testing.assert_close(logits(even, ids, torch.float32), logits(source, ids, torch.float32), rtol=1e-5,
                                   atol=1e-5)

    def test_bits_of_the_logits_with_powers_of_two(self):
        for dtype in ("float16", "bfloat16"):
            decoder = random_decoder(1, "LlamaForCausalLM", **SHAPE, dtype=dtype)
            source = save(decoder, self.folder / dtype)
            calibrated = self.statistics_of(source, decoder.vocab, f"calibrated-{dtype}")
            even = self.equalise(source, calibrated, "--exact", name=f"even-{dtype}")
            ids = np.load(self.windows(9, count=2, length=48, vocab=decoder.vocab))
            for compute in (DTYPES[dtype], torch.float32):
                self.assertTrue(torch.equal(logits(even, ids, compute), logits(source, ids, compute)))

    def test_of_a_trained_model(self):
        source = SHARED / "models/llama-96m"
        if not source.exists():
            self.skipTest(f"{source} is not there")
        wide = self.folder / "wide"
        shutil.copytree(source, wide)
        from safetensors.torch import save_file
        for file in wide.glob("*.safetensors"):
            save_file({name: tensor.float() for name, tensor in load_file(file).items()}, file, {"format": "pt"})
        calibrated = self.statistics_of(source, 12288)
        shutil.copytree(calibrated, self.folder / "of-wide")
        ids = np.load(self.windows(9, count=2, length=128, vocab=12288))
        even = self.equalise(wide, calibrated, name="even-wide")
        torch.testing.assert_close(logits(even, ids, torch.float32), logits(wide, ids, torch.float32), rtol=1e-5,
                                   atol=1e-4)
        even = self.equalise(source, calibrated, "--exact")
        self.assertNotEqual(model_files(even), model_files(source))
        self.assertTrue(torch.equal(logits(even, ids, torch.float16), logits(source, ids, torch.float16)))

    def test_statistics_are_those_of_a_new_calibration(self):
        decoder = random_decoder(2, "LlamaForCausalLM", **SHAPE, dtype="float16")
        source = save(decoder, self.folder / "source")
        calibrated = self.statistics_of(source, decoder.vocab)
        even = self.equalise(source, calibrated)
        anew = statistics(self.statistics_of(even, decoder.vocab, "anew"))
        derived = statistics(even)
        for name, expected in anew.items():
            largest = np.abs(expected).max()
            np.testing.assert_allclose(derived[name], expected, rtol=0, atol=2e-3 * largest, err_msg=name)
        exact = self.equalise(source, calibrated, "--exact", name="exact")
        self.assert_same_statistics(exact, self.statistics_of(exact, decoder.vocab, "anew-exact"))


class Directories(EqualiseTest):
    def test_cutting_before_and_behind_is_the_same(self):
        decoder = random_decoder(4, "LlamaForCausalLM", **dict(SHAPE, hidden=512, head_dim=128, vocab=201),
                                 dtype="float16")
        source = save(decoder, self.folder / "source")
        calibrated = self.statistics_of(source, decoder.vocab)
        for exact in ([], ["--exact"]):
            cut = self.folder / "cut"
            self.succeed("shard", "--weights", source, "--output", cut, "--tp", 2, "--model-name", "llama", "--quiet")
            self.equalise(cut / "weights", calibrated, *exact)
            self.succeed("shard", "--weights", self.equalise(source, calibrated, *exact, name="even-source"),
                         "--output", self.folder / "even-cut", "--tp", 2, "--model-name", "llama", "--quiet")
            self.assertEqual(model_files(self.folder / "even"), model_files(self.folder / "even-cut/weights"))
            self.assertEqual((self.folder / "even" / NAME).read_bytes(),
                             (self.folder / "even-source" / NAME).read_bytes())
            for name in ("cut", "even", "even-source", "even-cut"):
                shutil.rmtree(self.folder / name)

    def test_of_the_embedded_model_are_verified_with_their_scales(self):
        calibrated = self.calibrated()
        even = self.equalise(TINY / "weights", calibrated)
        export = ("export", "--weights", even, "--in-place", "--stats")
        self.succeed(*export, even / NAME)
        self.succeed("verify", even)
        steps = np.array([np.frombuffer(file, "<f4") for file in scales(even).values()]).reshape(4, 2, 4)
        self.assertLess(np.abs(steps[:, 0, ::2] / steps[:, 1, ::2] - 1).max(), 0.1)  # whatever the rank
        run = kvcalib(*export, calibrated / NAME, "--force")
        self.assertEqual(run.code, 1)
        self.assertIn("was taken from other weights", run.err)
        shutil.copyfile(calibrated / NAME, even / NAME)
        run = kvcalib("verify", even)
        self.assertEqual(run.code, 1)
        self.assertIn("statistics of other weights", run.text)

    def test_an_even_model_stays_as_it_is(self):
        even = self.equalise(TINY / "weights", self.calibrated())
        again = self.equalise(even, even, name="again")
        first, second = statistics(even), statistics(again)
        for name, expected in first.items():
            np.testing.assert_allclose(second[name], expected, rtol=3e-3, atol=1e-3)

    def test_what_comes_along_and_what_does_not(self):
        source = save(random_decoder(4, "LlamaForCausalLM", **SHAPE, dtype="float16"), self.folder / "source")
        calibrated = self.statistics_of(source, 200)
        for name in ("tokenizer.json", "pytorch_model.bin"):
            (source / name).write_text("{}")
        (source / "original").mkdir()
        (source / "layers.0.past_kv_scale.0.weight").write_bytes(bytes(16))
        run = self.succeed("equalise", "--weights", source, "--stats", calibrated / NAME, "--output",
                           self.folder / "even")
        self.assertEqual({entry.name for entry in (self.folder / "even").iterdir()},
                         {"config.json", "model.safetensors", "tokenizer.json", NAME})
        for words in ("pytorch_model.bin: is left out", "original: is left out", "1 KV scale files"):
            self.assertIn(words, run.err)
        with safe_open(self.folder / "even" / NAME, "pt") as file:
            provenance = self.parse_json(file.metadata()["provenance"])
        with safe_open(calibrated / NAME, "pt") as file:
            before = self.parse_json(file.metadata()["provenance"])
        self.assertEqual(provenance["equalised"], {"from": before["weights_fingerprint"], "exact": False})
        self.assertNotEqual(provenance["weights_fingerprint"], before["weights_fingerprint"])

    def test_less_is_lost(self):
        calibrated = self.calibrate(TINY / "weights", TINY / "text.jsonl", "--samples", 32, "--length", 256)
        losses = []
        for weights, file in ((TINY / "weights", calibrated), (self.equalise(TINY / "weights", calibrated),) * 2):
            run = self.succeed("evaluate", "--weights", weights, "--stats", file / NAME, "--serving-tp", 1, "--data",
                               TINY / "text.jsonl", "--tokenizer", TINY / "tokenizer/tokenizer.model", "--limit", 8,
                               "--length", 256, "--devices", "cpu", "--quiet", "--json")
            losses.append(self.parse_json(run.out)["streams"][-1]["kld"]["mean"])
        self.assertGreater(losses[0] / losses[1], 1.5)


class InPlace(EqualiseTest):
    def arguments(self, weights: Path, *more) -> list:
        return ["equalise", "--weights", weights, "--stats", self.calibrated() / NAME, "--in-place", "--quiet", *more]

    def test_exchanges_the_directory_and_keeps_the_old_one(self):
        expected = digests(self.equalise(TINY / "weights", self.calibrated()))
        weights = self.tiny()
        before = digests(weights)
        run = self.succeed(*self.arguments(weights))
        self.assertIn("weights.backup", run.out)
        self.assertEqual(digests(weights), expected)
        self.assertEqual(digests(weights.parent / "weights.backup"), before)
        self.assertEqual({entry.name for entry in weights.parent.iterdir()}, {"weights", "weights.backup", "tokenizer"})

    def test_does_not_leave_scales_of_other_weights(self):
        weights = self.tiny()
        self.succeed("export", "--stats", self.calibrated() / NAME, "--weights", weights, "--in-place")
        before = digests(weights.parent)
        run = kvcalib(*self.arguments(weights))
        self.assertEqual(run.code, 1)
        self.assertIn("--force", run.err)
        self.assertEqual(digests(weights.parent), before)
        run = self.succeed(*self.arguments(weights, "--force"))
        self.assertIn("quant_policy = 4", run.err)
        self.assertEqual(scales(weights), {})
        self.assertEqual(len(scales(weights.parent / "weights.backup")), 8)
        self.succeed("export", "--stats", weights / NAME, "--weights", weights, "--in-place")
        self.succeed("verify", weights)

    def test_killed_anywhere_it_leaves_one_whole_state(self):
        old = digests(TINY / "weights")
        new = digests(self.equalise(TINY / "weights", self.calibrated()))
        found, step, ended = set(), 1, False
        while not ended:
            weights = self.tiny(f"killed-{step}")
            process, ended = start_stepped(weights.parent, *self.arguments(weights)), True
            for number in stops(process):
                if number == step:
                    process.kill()
                    ended = False
            process.communicate()
            state = {name: digest for name, digest in digests(weights).items() if name != ".kvcalib-unfinished"}
            self.assertIn(state, (old, new), f"step {step}")
            found.add("old" if state == old else "new")
            run = kvcalib(*self.arguments(weights))
            if state == old:
                self.assertEqual(run.code, 0, run.err)
            else:
                self.assertEqual(run.code, 1)
                self.assertIn("is equalised by these statistics already", run.err)
            self.assertEqual(digests(weights), new)
            backups = [digests(backup) for backup in weights.parent.glob("weights.backup*")]
            self.assertIn(old, backups, f"step {step}")
            self.assertEqual([entry.name for entry in weights.parent.iterdir() if entry.name.startswith(".")], [])
            shutil.rmtree(weights.parent)
            step += 1 if step < 12 or found == {"old", "new"} else 7
        self.assertEqual(found, {"old", "new"})

    def test_ended_by_a_signal_it_takes_back_what_it_had_begun(self):
        weights = self.tiny()
        before = digests(weights.parent)
        process = start_stepped(weights.parent, *self.arguments(weights))
        for number in stops(process):
            if number == 20:
                process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
        self.assertEqual(process.returncode, -signal.SIGTERM, err)
        self.assertIn("are as they were", err)
        self.assertEqual(digests(weights.parent), before)


class Refusals(EqualiseTest):
    def assert_refused(self, words: str, *arguments, code: int = 1):
        before = digests(self.folder)
        run = kvcalib("equalise", *arguments)
        self.assertEqual(run.code, code, run.text)
        self.assertIn(words, run.err)
        self.assertEqual(digests(self.folder), before)

    def test_of_a_command_line(self):
        self.assert_refused("--stats FILE is missing", "--weights", TINY, code=2)
        self.assert_refused("--output DIR or --in-place", "--weights", TINY, "--stats", "f", code=2)

    def test_of_statistics_of_other_weights(self):
        other = self.write(random_model(1, layers=4, heads=2, vocab=320), 1)
        self.assert_refused("was taken from other weights", "--weights", other, "--stats", self.calibrated() / NAME,
                            "--output", self.folder / "even")

    def test_of_int4(self):
        weights = self.tiny()
        config = weights / "config.ini"
        config.write_text(config.read_text().replace("weight_type = fp16", "weight_type = int4"))
        self.assert_refused("int4 weights cannot be equalised", "--weights", weights, "--stats",
                            self.calibrated() / NAME, "--in-place")

    def test_of_places(self):
        weights = self.tiny()
        given = ("--weights", weights, "--stats", self.calibrated() / NAME)
        for place in (weights, weights / "even", weights.parent):
            self.assert_refused("--in-place", *given, "--output", place, "--force")
        (self.folder / "other").mkdir()
        (self.folder / "other/notes.txt").write_text("mine")
        self.assert_refused("notes.txt", *given, "--output", self.folder / "other", "--force")
        self.equalise(weights, self.calibrated())
        self.assert_refused("--force", *given, "--output", self.folder / "even")
        self.equalise(weights, self.calibrated(), "--force")
        for name in ("notes.txt", "adapter_model.bin"):
            (self.folder / "even" / name).write_text("mine")
            self.assert_refused(name, *given, "--output", self.folder / "even", "--force")
            (self.folder / "even" / name).unlink()
        (self.folder / "even/folder").mkdir()
        self.assert_refused("folder", *given, "--output", self.folder / "even", "--force")

    def test_in_place_of_what_would_be_in_the_backup(self):
        weights = self.tiny()
        given = ("--weights", weights, "--stats", self.calibrated() / NAME, "--in-place")
        (weights / "store").mkdir()
        for name, target in (("norm.weight", weights / "store/norm.weight"),
                             ("layers.0.attention.wo.0.weight", "store/layers.0.attention.wo.0.weight")):
            (weights / name).rename(weights / "store" / name)
            (weights / name).symlink_to(target)
            self.assert_refused("leads into the directory itself", *given)
            (weights / name).unlink()
            (weights / "store" / name).rename(weights / name)
        here = Path.cwd()
        try:
            os.chdir(weights)
            self.assert_refused("go elsewhere first", *given)
        finally:
            os.chdir(here)

    def test_of_damaged_weights(self):
        weights = self.tiny()
        file = weights / "layers.1.attention.w_qkv.0.weight"
        values = np.fromfile(file, "<f2")
        values[1000] = np.nan
        values.tofile(file)
        self.assert_refused("layers.1.attention.w_qkv.0.weight: holds NaN or Inf", "--weights", weights, "--stats",
                            self.calibrated() / NAME, "--output", self.folder / "even")


if __name__ == "__main__":
    unittest.main()
