# SPDX-License-Identifier: Apache-2.0
"""Hugging Face directories: the same statistics and scales as from the weights directory that is made of them, and
what is refused."""

import importlib.util
import json
import random
import shutil
import unittest
from pathlib import Path

import numpy as np
import torch

from program import SHARED, ProgramTest, digests, kvcalib, scales, shape_options
from reference.families import Decoder, config_json, published, random_decoder, save, write_directory
from reference.models import Model

WRONG_USAGE, FAILED = 2, 1
STATISTICS = "kv_stats.safetensors"


def llama(seed: int = 0, **changes) -> Decoder:
    shape = {"hidden": 512, "heads": 4, "kv_heads": 2, "head_dim": 128, "intermediate": 192, "dtype": "float16"}
    return random_decoder(seed, "LlamaForCausalLM", **shape | changes)


def as_model(decoder: Decoder) -> Model:
    """The decoder as the writer of weights directories takes it."""
    return Model(layers=decoder.layers, heads=decoder.heads, kv_heads=decoder.kv_heads, head_dim=decoder.head_dim,
                 intermediate=decoder.intermediate, vocab=decoder.vocab, norm_eps=decoder.norm_eps,
                 rope_theta=decoder.rope_theta, max_position_embeddings=decoder.max_positions,
                 attention_bias=decoder.attention_bias, tensors=decoder.tensors,
                 weight_type="bf16" if decoder.dtype == "bfloat16" else "fp16")


def provenance(output: Path) -> dict:
    from safetensors import safe_open
    with safe_open(output / STATISTICS, "np") as file:
        return json.loads(file.metadata()["provenance"])


class HuggingFace(ProgramTest):
    def setUp(self):
        super().setUp()
        self.ids = self.windows(count=3, length=72, vocab=200)

    def scaled(self, weights: Path, name: str, serving_ranks: int, *arguments) -> Path:
        # A Hugging Face model states no session: without this the two would be for others.
        return self.calibrate(weights, self.ids, "--serving-tp", serving_ranks, "--session-len", 1, *arguments,
                              name=name)


class SameAsTurboMind(HuggingFace):
    def assert_same(self, decoder: Decoder, *, files: int = 1, ranks: int = 1, serving_ranks: int = 1,
                    arguments: tuple = ()):
        turbomind = self.scaled(self.write(as_model(decoder), ranks), "of-turbomind", serving_ranks)
        output = self.scaled(save(decoder, self.folder / "hf", files), "of-hf", serving_ranks, *arguments)
        self.assert_same_statistics(turbomind, output)
        self.assertEqual(len(scales(output)), decoder.layers * serving_ranks)
        self.assertEqual(scales(turbomind), scales(output))
        one, other = provenance(turbomind), provenance(output)
        model, other_model = one.pop("model"), other.pop("model")
        self.assertEqual(one, other)
        different = {key for key in model | other_model if model.get(key) != other_model.get(key)}
        self.assertLessEqual(different, {"stored_ranks", "session_length", "own_rotation"})

    def test_fp16(self):
        self.assert_same(llama(1))

    def test_for_two_serving_ranks(self):
        self.assert_same(llama(2, attention_bias=True), serving_ranks=2)

    def test_of_weights_cut_for_two_ranks(self):
        self.assert_same(llama(3, attention_bias=True), ranks=2, serving_ranks=2)

    def test_bf16_in_several_files(self):
        self.assert_same(llama(4, dtype="bfloat16", attention_bias=True), files=4)

    def test_fp32_is_rounded_as_a_converter_rounds_it(self):
        decoder = llama(5, dtype="float32")
        generator = torch.Generator().manual_seed(5)
        for tensor in decoder.tensors.values():
            tensor.mul_(1.0 + 1e-4 * torch.rand(tensor.shape, generator=generator))
        self.assertTrue(any(torch.any(tensor != tensor.half().float()) for tensor in decoder.tensors.values()))
        self.assert_same(decoder)

    def test_calibrated_by_three_processes(self):
        self.assert_same(llama(6, layers=3), files=3, serving_ranks=2, arguments=("--devices", "cpu:3"))

    def test_small_heads_are_calibrated_with_a_warning(self):
        decoder = llama(7, hidden=256, head_dim=64)
        directory = save(decoder, self.folder / "small-heads")
        run = self.succeed("calibrate", "--weights", directory, "--data", self.ids, *shape_options(self.ids),
                           "--devices", "cpu", "--output", self.folder / "output")
        self.assertRegex(run.err, r"warning: .*64.*128 only")
        shutil.rmtree(self.folder / "output")
        self.assert_same(decoder)

    def test_statistics_of_one_serve_the_other(self):
        decoder = llama(8)
        places = {"turbomind": self.write(as_model(decoder)), "hf": save(decoder, self.folder / "hf", files=2)}
        outputs = {name: self.scaled(place, "of-" + name, 2) for name, place in places.items()}
        for source, target in (("hf", "turbomind"), ("turbomind", "hf")):
            with self.subTest(source=source):
                exported = self.folder / f"exported-{source}"
                self.succeed("export", "--stats", outputs[source] / STATISTICS, "--weights", places[target],
                             "--serving-tp", 2, "--session-len", 1, "--output", exported)
                self.assertEqual(scales(exported), scales(outputs["turbomind"]))
                self.assertEqual((exported / "config.ini").exists(), target == "turbomind")

    def test_there_is_no_config_to_patch(self):
        output = self.scaled(save(llama(9), self.folder / "hf"), "output", 2)
        expected = {f"layers.{layer}.past_kv_scale.{rank}.weight" for layer in range(2) for rank in range(2)}
        self.assertEqual(set(digests(output)), expected | {STATISTICS, "summary.json"})


    def test_verify_checks_the_scales_against_their_statistics(self):
        output = self.scaled(save(llama(7), self.folder / "hf"), "scales", 2)
        report = self.succeed("verify", output)
        self.assertIn("no config.ini here", report.out)
        (output / "layers.1.past_kv_scale.1.weight").unlink()
        run = kvcalib("verify", output, "--serving-tp", 2)
        self.assertEqual(run.code, FAILED, run.text)
        self.assertIn("layers.1.past_kv_scale.1.weight", run.out)

    def test_a_sliding_window_is_warned_of_and_serves_no_model_without(self):
        decoder = llama(8)
        output = self.scaled(save(decoder, self.folder / "plain"), "plain-scales", 1)
        config = self.folder / "window/config.json"
        shutil.copytree(self.folder / "plain", config.parent)
        values = json.loads(config.read_text()) | {"architectures": ["MistralForCausalLM"], "model_type": "mistral",
                                                      "sliding_window": 16}
        config.write_text(json.dumps(values))
        run = kvcalib("calibrate", "--weights", config.parent, "--data", self.ids, *shape_options(self.ids), "--devices", "cpu",
                      "--output", self.folder / "window-scales")
        self.assertEqual(run.code, 0, run.text)
        self.assertIn("sliding window of 16 tokens", run.err)
        self.assertNotEqual(scales(output), scales(self.folder / "window-scales"))
        run = kvcalib("export", "--stats", self.folder / "window-scales" / STATISTICS, "--weights", self.folder / "plain",
                      "--output", self.folder / "exported")
        self.assertEqual(run.code, FAILED, run.text)
        self.assertIn("sliding_window = 16", run.err)


class Warnings(HuggingFace):
    def test_what_is_not_read_is_told_of_and_changes_nothing(self):
        decoder = random_decoder(3, "Qwen2ForCausalLM", layers=1, dtype="float16", max_positions=40)
        plain = save(decoder, self.folder / "plain", files=2)
        output = self.scaled(plain, "plain-scales", 1)
        weights = Path(shutil.copytree(plain, self.folder / "hf"))
        config = json.loads((weights / "config.json").read_text()) | {"use_dynamic_ntk": True, "use_logn_attn": True}
        (weights / "config.json").write_text(json.dumps(config))
        (weights / "model-00001-of-00003.safetensors").write_text("a shard of another split")
        (weights / "adapter_config.json").write_text("{}")
        run = self.succeed("calibrate", "--weights", weights, "--data", self.ids, *shape_options(self.ids),
                           "--devices", "cpu", "--output", self.folder / "found")
        told = self.parse_json((self.folder / "found/summary.json").read_text())["warnings"]
        for words in ("use_dynamic_ntk", "use_logn_attn", "model-00001-of-00003.safetensors", "adapter_config.json"):
            self.assertIn(words, run.err)
            self.assertTrue(any(words in warning for warning in told), told)
        self.assertEqual(scales(output), scales(self.folder / "found"))
        self.assertEqual(provenance(output)["weights_fingerprint"], provenance(self.folder / "found")["weights_fingerprint"])


class Refusals(HuggingFace):
    def assert_refused(self, weights: Path, *words: str, code: int = FAILED, arguments: tuple = (),
                       output: bool = True):
        """calibrate fails with `code` and a message on stderr that holds `words`; the disk is as before."""
        before = digests(self.folder)
        place = ("--output", self.folder / "output") if output else ()
        run = kvcalib("calibrate", "--weights", weights, "--data", self.ids, *shape_options(self.ids), "--devices",
                      "cpu", "--quiet", *place, *arguments)
        self.assertEqual(run.code, code, run.text)
        self.assertEqual(run.out, "", "a refusal belongs on stderr")
        for word in ("error", *words):
            self.assertIn(word, run.err)
        self.assertEqual(digests(self.folder), before, "something was left or changed")

    def spoilt(self, name: str, change, decoder: Decoder | None = None, files: int = 1) -> Path:
        """A directory whose config and tensors went through `change(config, tensors)`."""
        decoder = decoder or llama()
        config = config_json(decoder)
        tensors = {key: tensor.half() for key, tensor in published(decoder).items()}
        change(config, tensors)
        return write_directory(self.folder / name, config, tensors, files)

    def test_in_place(self):
        self.assert_refused(save(llama(), self.folder / "hf"), "--in-place", "Hugging Face", "--output",
                            arguments=("--in-place",), output=False)

    def test_serving_ranks_that_do_not_divide(self):
        for ranks in (3, 4):
            self.assert_refused(save(llama(), self.folder / f"for-{ranks}"), "kv_head_num = 2", f"{ranks} serving",
                                arguments=("--serving-tp", ranks))

    def test_a_head_that_is_neither_there_nor_tied(self):
        self.assert_refused(self.spoilt("headless", lambda config, tensors: tensors.pop("lm_head.weight")),
                            "lm_head.weight")

    def test_missing_tensors(self):
        for name in ("model.embed_tokens.weight", "model.layers.1.self_attn.k_proj.weight",
                     "model.layers.0.mlp.up_proj.weight", "model.layers.1.input_layernorm.weight"):
            with self.subTest(name=name):
                self.assert_refused(self.spoilt(name, lambda config, tensors: tensors.pop(name)), name)

    def test_missing_bias(self):
        name = "model.layers.1.self_attn.q_proj.bias"
        self.assert_refused(self.spoilt("bias", lambda config, tensors: tensors.pop(name),
                                        llama(attention_bias=True)), name)

    def test_a_tensor_of_another_shape(self):
        name = "model.layers.1.self_attn.v_proj.weight"

        def cut(config, tensors):
            tensors[name] = tensors[name][:-1].contiguous()
        self.assert_refused(self.spoilt("cut", cut), name, "255", "256")

    def test_unknown_architectures_are_told_the_known_ones(self):
        architectures = ["GPT2LMHeadModel"]
        self.assert_refused(self.spoilt("gpt", lambda config, tensors: config.update(architectures=architectures)),
                            "GPT2LMHeadModel", "LlamaForCausalLM", "MistralForCausalLM", "InternLMForCausalLM",
                            "InternLM2ForCausalLM", "QWenLMHeadModel", "Qwen2ForCausalLM", "Qwen3ForCausalLM",
                            "BaichuanForCausalLM")

    def test_unknown_rotary_scaling(self):
        scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}
        self.assert_refused(self.spoilt("yarn", lambda config, tensors: config.update(rope_scaling=scaling)),
                            "config.json", "yarn")

    def test_sizes_that_no_model_has(self):
        for key, value in (("num_attention_heads", 2 ** 31), ("num_attention_heads", 2 ** 62), ("num_hidden_layers", 2 ** 64 - 1),
                           ("vocab_size", 0), ("hidden_size", 2 ** 40)):
            with self.subTest(key=key, value=value):
                self.assert_refused(self.spoilt(f"{key}-{value}", lambda config, tensors: config.update({key: value})),
                                    "config.json", key)

    def test_a_folder_in_place_of_a_file(self):
        weights = save(llama(), self.folder / "hf")
        (weights / "model-extra.safetensors").mkdir()
        self.assert_refused(weights, "model-extra.safetensors", "is no file")

    def test_statements_that_disagree(self):
        changes = {"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}
        self.assert_refused(self.spoilt("twice", lambda config, tensors: config.update(changes)),
                            "config.json", "linear in rope_scaling", "default in rope_parameters")

    def test_an_adapter_that_is_not_merged(self):
        weights = save(llama(), self.folder / "hf")
        (weights / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8}')
        shutil.copyfile(weights / "model.safetensors", weights / "adapter_model.safetensors")
        self.assert_refused(weights, "adapter_model.safetensors", "merge_and_unload")

    def test_a_sliding_window_of_some_layers(self):
        decoder = random_decoder(0, "Qwen2ForCausalLM", dtype="float16", config={
            "use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1})
        self.assert_refused(save(decoder, self.folder / "hf"), "config.json", "max_window_layers")

    def test_alibi(self):
        decoder = random_decoder(0, "BaichuanForCausalLM", layers=1, hidden=5120, heads=40, kv_heads=40, head_dim=128,
                                 intermediate=16, vocab=8)
        (self.folder / "hf").mkdir()
        (self.folder / "hf/config.json").write_text(json.dumps(config_json(decoder)))
        self.assert_refused(self.folder / "hf", "5120", "ALiBi")

    def test_quantised_weights(self):
        quantised = {"quantization_config": {"quant_method": "awq", "bits": 4}}
        self.assert_refused(self.spoilt("awq", lambda config, tensors: config.update(quantised)),
                            "quantization_config")

    def test_pickled_weights(self):
        directory = save(llama(), self.folder / "hf")
        (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
        self.assert_refused(directory, "pytorch_model.bin", "safetensors")

    def test_a_file_that_is_cut_off(self):
        directory = save(llama(), self.folder / "hf", files=2)
        file = directory / "model-00002-of-00002.safetensors"
        file.write_bytes(file.read_bytes()[:-2])
        self.assert_refused(directory, file.name)
        file.unlink()
        self.assert_refused(directory, file.name)

    def test_a_config_that_is_not_json(self):
        directory = save(llama(), self.folder / "hf")
        (directory / "config.json").write_text('{"architectures": [')
        self.assert_refused(directory, "config.json")

    def test_nan_names_the_file(self):
        for name in ("self_attn.k_proj.weight", "mlp.down_proj.weight", "post_attention_layernorm.weight"):
            tensor = "model.layers.0." + name

            def damage(config, tensors, tensor=tensor):
                tensors[tensor].view(-1)[17] = torch.nan
            with self.subTest(name=name):
                directory = self.spoilt(name, damage, files=3)
                index = json.loads((directory / "model.safetensors.index.json").read_text())
                self.assert_refused(directory, index["weight_map"][tensor], "NaN")

    def test_fp32_beyond_16_bits(self):
        decoder = llama(dtype="float32")
        decoder.tensors["model.layers.1.self_attn.v_proj.weight"][3, 5] = 1e5
        self.assert_refused(save(decoder, self.folder / "hf"), "layer 1", "Inf in V")


@unittest.skipIf(importlib.util.find_spec("transformers") is None, "the Python package transformers is absent")
class Tokens(HuggingFace):
    """The tokenizer.model in the directory, against transformers' LlamaTokenizer."""

    MODEL, TEXT = SHARED / "tokenizers/llama2_tokenizer.model", SHARED / "c4/c4_en_train_sample.jsonl"
    SAMPLES, LENGTH, SEED, DOCUMENTS = 4, 512, 3, 40

    def tokenizer(self, adds_bos: bool):
        """LlamaTokenizer with the vocabulary of the SentencePiece model."""
        import sentencepiece
        from transformers import LlamaTokenizer
        from transformers.convert_slow_tokenizer import generate_merges
        model = sentencepiece.SentencePieceProcessor(model_file=str(self.MODEL))
        vocabulary = {model.id_to_piece(index): index for index in range(model.vocab_size())}
        merges = generate_merges(vocabulary, {piece: model.get_score(index) for piece, index in vocabulary.items()})
        return LlamaTokenizer(vocab=vocabulary, merges=merges, add_bos_token=adds_bos)

    def packed(self, texts: list[str], tokenizer) -> np.ndarray:
        """Shuffled documents end to end."""
        order = list(range(len(texts)))
        random.seed(self.SEED)
        random.shuffle(order)
        ids = sum((tokenizer(texts[index])["input_ids"] for index in order), [])
        return np.array(ids[:self.SAMPLES * self.LENGTH], np.int32).reshape(self.SAMPLES, self.LENGTH)

    def test_documents_of_c4(self):
        if not self.MODEL.exists() or not self.TEXT.exists():
            self.skipTest(f"{self.MODEL} and {self.TEXT} are not there")
        # One layer of many channels: each position is the farthest of several of them.
        directory = save(random_decoder(0, "LlamaForCausalLM", layers=1, heads=32, kv_heads=32, head_dim=128,
                                        vocab=32000, tied=True, dtype="float16"), self.folder / "hf")
        shutil.copyfile(self.MODEL, directory / "tokenizer.model")
        lines = self.TEXT.read_text(encoding="utf-8").split("\n")[:self.DOCUMENTS]
        text, expected = self.folder / "text.jsonl", self.folder / "expected.npy"
        text.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for adds_bos in (True, False):
            with self.subTest(adds_bos=adds_bos):
                (directory / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": adds_bos}))
                np.save(expected, self.packed([json.loads(line)["text"] for line in lines], self.tokenizer(adds_bos)))
                self.assert_same_statistics(
                    self.calibrate(directory, expected, name=f"expected-{adds_bos}"),
                    self.calibrate(directory, text, "--pack", "--samples", self.SAMPLES, "--length", self.LENGTH,
                                   "--seed", self.SEED, name=f"found-{adds_bos}"))


if __name__ == "__main__":
    unittest.main()
