# SPDX-License-Identifier: Apache-2.0
"""kvcalib shard: the bytes of LMDeploy's converters, from Hugging Face models and from directories cut otherwise."""

import hashlib
import os
import shutil
import signal
import unittest
from pathlib import Path

import torch

from program import SHARED, TINY, ProgramTest, config_values, digests, kvcalib, shape_options, start_stepped, stops
from reference.families import Decoder, random_decoder, save
from reference.models import Model, random_model
from reference.turbomind_writer import weight_files, write_directory

LLAMA = dict(layers=2, hidden=512, heads=4, kv_heads=4, head_dim=128, intermediate=192, vocab=323)
SESSIONS = {"llama": 2056, "llama2": 4104, "internlm-chat-7b": 2056, "internlm2-chat-7b": 32776, "qwen-7b": 8200}


def as_model(decoder: Decoder, template: str, **changes) -> Model:
    """What the converters make of it: an output bias of zeros where only q, k and v have one."""
    tensors = dict(decoder.tensors)
    tensors.setdefault("lm_head.weight", tensors["model.embed_tokens.weight"])
    for layer in range(decoder.layers):
        if decoder.qkv_bias:
            tensors.setdefault(f"model.layers.{layer}.self_attn.o_proj.bias", torch.zeros(decoder.hidden))
    shape = dict(layers=decoder.layers, heads=decoder.heads, kv_heads=decoder.kv_heads, head_dim=decoder.head_dim,
                 intermediate=decoder.intermediate, vocab=decoder.vocab, norm_eps=decoder.norm_eps,
                 rope_theta=decoder.rope_theta, max_position_embeddings=decoder.max_positions,
                 attention_bias=decoder.qkv_bias, weight_type="bf16" if decoder.dtype == "bfloat16" else "fp16",
                 use_dynamic_ntk=decoder.use_dynamic_ntk, use_logn_attn=decoder.use_logn_attn, template=template,
                 session_len=SESSIONS[template], tensors=tensors)
    return Model(**shape | changes)


class ShardTest(ProgramTest):
    def shard(self, weights: Path, ranks: int, name: str, *arguments) -> Path:
        """A run that must succeed; returns the weights directory that it wrote."""
        self.succeed("shard", "--weights", weights, "--output", self.folder / name, "--tp", ranks, "--quiet",
                     *arguments)
        self.assertEqual({entry.name for entry in (self.folder / name).iterdir()}, {"weights", "tokenizer"})
        return self.folder / name / "weights"

    def assert_same(self, found: Path, expected: Path):
        self.assertEqual((found / "config.ini").read_text(), (expected / "config.ini").read_text())
        self.assertEqual(digests(found), digests(expected))

    def check(self, decoder: Decoder, ranks: int, *, runtime: str = "0.3.0", template: str = "llama",
              changes: dict | None = None, **model):
        source = save(decoder, self.folder / "source", files=2)
        found = self.shard(source, ranks, "found", "--runtime", runtime, "--model-name", template)
        expected = write_directory(as_model(decoder, template, **model), self.folder / "expected", ranks,
                                   release=runtime, changes=changes)
        self.assert_same(found, expected)
        for name in ("source", "found", "expected"):
            shutil.rmtree(self.folder / name)

    def assert_refused(self, words: list[str], *arguments, code: int = 1):
        before = digests(self.folder)
        run = kvcalib("shard", *arguments)
        self.assertEqual(run.code, code, run.text)
        for word in words:
            self.assertIn(word, run.err)
        self.assertEqual(digests(self.folder), before)


class FromHuggingFace(ShardTest):
    def test_llama_for_both_converters_and_several_ranks(self):
        for runtime in ("0.0.12", "0.3.0"):
            for ranks in (1, 2, 4):
                with self.subTest(runtime=runtime, ranks=ranks):
                    self.check(random_decoder(ranks, "LlamaForCausalLM", **LLAMA, dtype="float16"), ranks,
                               runtime=runtime, template="llama2")

    def test_grouped_queries_and_a_tied_head(self):
        self.check(random_decoder(1, "LlamaForCausalLM", **LLAMA | dict(kv_heads=2), dtype="float16", tied=True), 2)

    def test_odd_shapes(self):
        self.check(random_decoder(2, "LlamaForCausalLM", **LLAMA | dict(intermediate=77, vocab=51)), 1)

    def test_bfloat16_becomes_float16_before_v0_1(self):
        decoder = random_decoder(3, "LlamaForCausalLM", **LLAMA, dtype="bfloat16")
        self.check(decoder, 2)
        self.check(decoder, 2, runtime="0.0.12", weight_type="fp16")

    def test_float32_is_rounded_to_float16(self):
        decoder = random_decoder(4, "LlamaForCausalLM", **LLAMA)
        decoder.tensors = {name: tensor * 1.0003 for name, tensor in decoder.tensors.items()}
        self.check(decoder, 2)

    def test_biases_of_internlm(self):
        self.check(random_decoder(5, "InternLMForCausalLM", **LLAMA), 2, template="internlm-chat-7b")

    def test_internlm2(self):
        self.check(random_decoder(6, "InternLM2ForCausalLM", **LLAMA | dict(kv_heads=2), dtype="bfloat16"), 2,
                   template="internlm2-chat-7b")

    def test_qwen_gets_an_output_bias_of_zeros(self):
        decoder = random_decoder(7, "QWenLMHeadModel", **LLAMA, use_dynamic_ntk=True, use_logn_attn=True)
        for runtime in ("0.0.12", "0.3.0"):
            self.check(decoder, 2, runtime=runtime, template="qwen-7b", start_id=0, end_id=151643)

    def test_head_of_baichuan2_is_normalised(self):
        decoder = random_decoder(8, "BaichuanForCausalLM",
                                 **LLAMA | dict(layers=1, hidden=128, heads=1, kv_heads=1, vocab=125696))
        model = as_model(decoder, "llama")
        head = torch.nn.functional.normalize(model.tensors["lm_head.weight"])
        self.check(decoder, 1, tensors=model.tensors | {"lm_head.weight": head})
        self.check(decoder, 1, runtime="0.0.12", tensors=model.tensors | {"lm_head.weight": head})

    def test_rotary_scaling_goes_into_config_ini(self):
        for kind, dynamic in (("linear", False), ("dynamic", True)):
            decoder = random_decoder(9, "LlamaForCausalLM", **LLAMA, rope_theta=1e6,
                                     rope_scaling={"type": kind, "factor": 2.0})
            self.check(decoder, 1, rope_scaling_factor=2.0, use_dynamic_ntk=dynamic)

    def test_bytes_and_configs_of_lmdeploys_own_converters(self):
        sums, source = SHARED / "turbomind/llama-96m-tp8.sha256", SHARED / "models/llama-96m"
        if not sums.exists() or not source.exists():
            self.skipTest(f"{sums} is not there")
        expected = dict(reversed(line.split()) for line in sums.read_text().splitlines())
        for release in ("0.0.12", "0.3.0"):
            weights = self.shard(source, 8, release, "--runtime", release, "--model-name", "llama2")
            found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in weight_files(weights)}
            self.assertEqual(found, expected, release)
            self.assertEqual((weights / "config.ini").read_text(),
                             (SHARED / f"turbomind/config-v{release}.ini").read_text())
            self.assertEqual((weights.parent / "tokenizer/tokenizer.model").read_bytes(),
                             (source / "tokenizer.model").read_bytes())

    def test_what_it_writes_for_the_first_releases_the_other_commands_accept(self):
        decoder = random_decoder(11, "LlamaForCausalLM", **LLAMA | dict(layers=1, vocab=324), dtype="float16")
        source = save(decoder, self.folder / "source")
        ids = self.windows(count=1, length=16, vocab=decoder.vocab)
        for runtime in ("0.0.2", "0.0.14"):
            weights = self.shard(source, 2, runtime, "--runtime", runtime, "--model-name", "internlm-chat-20b")
            run = self.succeed("calibrate", "--weights", weights, "--data", ids, *shape_options(ids), "--in-place",
                               "--runtime", runtime, "--devices", "cpu")
            self.assertIn("session_len = 8200", run.err)
            self.assertEqual(config_values(weights)["session_len"], "4096")
            self.succeed("verify", weights, "--runtime", runtime)

    def test_result_calibrates_to_the_same_statistics(self):
        decoder = random_decoder(10, "LlamaForCausalLM", **LLAMA, dtype="float16")
        source = save(decoder, self.folder / "source")
        weights = self.shard(source, 2, "found", "--model-name", "llama2")
        ids = self.windows(count=2, length=32, vocab=decoder.vocab)
        self.assert_same_statistics(self.calibrate(weights, ids, name="cut"), self.calibrate(source, ids, name="own"))


class FromTurboMind(ShardTest):
    def test_round_trip_is_identity(self):
        model = random_model(1, layers=2, heads=8, kv_heads=8, intermediate=96, vocab=321, attention_bias=True,
                             weight_type="bf16")
        original = self.write(model, 8)
        with (original / "config.ini").open("a") as file:
            file.write("; a remark\n")
        (original.parent / "tokenizer").mkdir()
        (original.parent / "tokenizer/vocabulary.json").write_text("{}")
        weights = original
        for ranks in (2, 1, 8):
            weights = self.shard(weights, ranks, f"cut-{ranks}")
        self.assertEqual(digests(weights.parent), digests(original.parent))

    def test_recut_is_what_the_converter_writes_for_those_ranks(self):
        model = random_model(2, layers=2, heads=4, kv_heads=2, intermediate=96, vocab=323)
        for release in ("0.0.12", "0.3.0"):
            source = self.write(model, 1, f"from-{release}", release=release)
            expected = self.write(model, 2, f"to-{release}", release=release)
            self.assert_same_files(self.shard(source, 2, f"found-{release}", "--runtime", release), expected)

    def assert_same_files(self, found: Path, expected: Path):
        self.assertEqual(config_values(found), config_values(expected))
        self.assertEqual({file.name: file.read_bytes() for file in weight_files(found)},
                         {file.name: file.read_bytes() for file in weight_files(expected)})

    def test_embedded_model_calibrates_without_further_options(self):
        weights = self.shard(TINY / "weights", 1, "one")
        for name, directory in (("cut", weights), ("own", TINY / "weights")):
            self.calibrate(directory, TINY / "text.jsonl", "--samples", 2, "--length", 64, name=name)
        self.assert_same_statistics(self.folder / "cut", self.folder / "own")

    def test_rows_beyond_the_vocabulary_that_are_not_zero_stay(self):
        model = random_model(3, layers=1, vocab=320)
        source = self.write(model, 2, changes={"vocab_size": 317})
        found = self.shard(source, 1, "found")
        self.assertEqual((found / "output.weight").read_bytes(), (source / "output.weight").read_bytes())

    def test_name_is_changed_on_request_and_scales_are_asked_for(self):
        source = self.write(random_model(4, layers=1), 2, changes={"quant_policy": 4})
        run = self.succeed("shard", "--weights", source, "--output", self.folder / "found", "--tp", 1, "--model-name",
                           "vicuna")
        self.assertIn("kvcalib export", run.err)
        values = config_values(self.folder / "found/weights")
        self.assertEqual((values["model_name"], values["quant_policy"]), ("vicuna", "4"))


class Refusals(ShardTest):
    def source(self, architecture: str = "LlamaForCausalLM", **shape) -> Path:
        return save(random_decoder(0, architecture, **LLAMA | shape), self.folder / "source")

    def arguments(self, source: Path, ranks: int = 1, *more) -> list:
        return ["--weights", source, "--output", self.folder / "output", "--tp", ranks, "--model-name", "llama", *more]

    def test_usage(self):
        source = self.source()
        self.assert_refused(["--tp N is missing"], "--weights", source, "--output", self.folder / "o", code=2)
        self.assert_refused(["--model-name", "chat template"], "--weights", source, "--output", self.folder / "o",
                            "--tp", 1, code=2)
        self.assert_refused(["--tp '0'"], *self.arguments(source, 0), code=2)

    def test_ranks_that_do_not_divide(self):
        source = self.source(heads=4, kv_heads=2)
        self.assert_refused(["--tp 4", "2 kv heads", "possible are 1, 2"], *self.arguments(source, 4))
        self.assert_refused(["323 tokens of the vocabulary", "possible are 1"],
                            *self.arguments(source, 2, "--runtime", "0.0.5"))

    def test_only_powers_of_two(self):
        source = self.source(heads=3, kv_heads=3, hidden=384)
        self.assert_refused(["powers of two", "possible are 1"], *self.arguments(source, 3))
        self.succeed("shard", *self.arguments(source, 3, "--runtime", "0.0.10"))

    def test_what_turbomind_does_not_compute(self):
        for words, architecture, shape in (
                (["heads of 64 channels"], "LlamaForCausalLM", dict(heads=8, kv_heads=8, head_dim=64)),
                (["hidden size of 640"], "LlamaForCausalLM", dict(hidden=640)),
                (["normalised by head"], "Qwen3ForCausalLM", {}),
                (["mlp_bias"], "LlamaForCausalLM", dict(mlp_bias=True)),
                (["sliding window of 100"], "MistralForCausalLM", dict(sliding_window=100)),
                (["llama3"], "LlamaForCausalLM",
                 dict(rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                    "high_freq_factor": 4.0, "original_max_position_embeddings": 64}))):
            with self.subTest(words=words):
                self.assert_refused(words, *self.arguments(self.source(architecture, **shape)))
                shutil.rmtree(self.folder / "source")

    def test_what_an_older_release_does_not_know(self):
        source = self.source(rope_scaling={"type": "linear", "factor": 2.0}, rope_theta=5e5)
        self.assert_refused(["linear rope_scaling", "v0.3.0"], *self.arguments(source, 1, "--runtime", "0.2.6"))
        self.assert_refused(["rope_theta", "v0.0.8"], *self.arguments(source, 1, "--runtime", "0.0.7"))
        weights = self.write(random_model(1, layers=1, weight_type="bf16"), 1)
        self.assert_refused(["bf16", "v0.1.0"], *self.arguments(weights, 1, "--runtime", "0.0.14"))

    def test_a_value_that_overflows(self):
        decoder = random_decoder(0, "LlamaForCausalLM", **LLAMA, dtype="bfloat16")
        decoder.tensors["model.layers.1.mlp.down_proj.weight"][3, 5] = 1e5
        source = save(decoder, self.folder / "source")
        self.assert_refused(["layers.1.feed_forward.w2.0.weight", "overflows"],
                            *self.arguments(source, 1, "--runtime", "0.0.12"))

    def test_damaged_weights(self):
        decoder = random_decoder(0, "LlamaForCausalLM", **LLAMA, dtype="float16")
        decoder.tensors["model.embed_tokens.weight"][3, 5] = float("nan")
        self.assert_refused(["model.safetensors", "NaN"], *self.arguments(save(decoder, self.folder / "source")))

    def test_too_little_room(self):
        weights = self.write(random_model(1, layers=1), 1)
        room = shutil.disk_usage(self.folder).total
        rows = room // 512 + 1  # of 256 channels; the files have holes
        text = (weights / "config.ini").read_text().replace("vocab_size = 320", f"vocab_size = {rows}")
        (weights / "config.ini").write_text(text)
        for name in ("tok_embeddings.weight", "output.weight"):
            os.truncate(weights / name, rows * 512)
        run = kvcalib("shard", *self.arguments(weights))
        self.assertEqual(run.code, 1)
        self.assertRegex(run.err, r"GB are free, .* GB are needed")
        self.assertFalse((self.folder / "output").exists())

    def test_force_replaces_only_what_shard_wrote(self):
        source = self.write(random_model(1, layers=1), 1)
        self.succeed("shard", *self.arguments(source))
        self.assert_refused(["--force"], *self.arguments(source))
        self.succeed("shard", *self.arguments(source, 2, "--force"))
        self.assertEqual(config_values(self.folder / "output/weights")["tensor_para_size"], "2")
        for foreign in ("weights/layers.0.past_kv_scale.0.weight", "weights/notes.txt", "notes.txt"):
            file = self.folder / "output" / foreign
            file.write_bytes(b"")
            self.assert_refused([foreign, "not kvcalib's"], *self.arguments(source, 1, "--force"))
            file.unlink()


class Stopped(ShardTest):
    def stop_while_writing(self, source: Path, number: signal.Signals) -> str:
        """What a run says that gets a signal when it has begun to write weights."""
        process = start_stepped(self.folder, "shard", "--weights", source, "--output", self.folder / "output", "--tp", 1,
                                "--quiet")
        self.addCleanup(process.kill)
        struck, weights = False, self.folder / ".output.kvcalib-partial/weights"
        for _ in stops(process):
            if not struck and len(list(weights.glob("*.weight"))) > 5:
                process.send_signal(number)
                struck = True
        _, err = process.communicate()
        self.assertTrue(struck, err)
        self.assertNotEqual(process.returncode, 0, err)
        return err

    def test_leaves_nothing(self):
        source = self.write(random_model(1, layers=4, heads=8, kv_heads=8), 8)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            err = self.stop_while_writing(source, number)
            self.assertFalse((self.folder / "output").exists())
            if number != signal.SIGKILL:
                self.assertIn("nothing was written", err)
                self.assertEqual({entry.name for entry in self.folder.iterdir()}, {"model"})
        self.shard(source, 8, "output")  # clears what the killed one left
        self.assertEqual({entry.name for entry in self.folder.iterdir()}, {"model", "output"})
        self.assert_same(self.folder / "output/weights", source)


if __name__ == "__main__":
    unittest.main()
