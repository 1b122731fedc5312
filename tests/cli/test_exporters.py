# SPDX-License-Identifier: Apache-2.0
"""Files for other runtimes: made from statistics, read by the ecosystem's own readers, held against formulas in numpy, and
read back by verify."""

import importlib.util
import json
import re
import shutil
import tempfile
import unittest
from pathlib import Path

import numpy as np

from program import TINY, ProgramTest, digests, kvcalib, shape_options, start_stepped, statistics, stops
from reference.families import random_decoder, save

FAILED, WRONG_USAGE = 1, 2
STATISTICS = "kv_stats.safetensors"
OTHERS = ("vllm", "sglang", "sglang-json", "lightllm", "tensorrt-llm", "vllm-ascend", "mindie", "lmdeploy-ascend",
          "kvcalib-json")
LAYERS, HEADS, WIDTH = 2, 2, 128
BESIDE = {STATISTICS, "summary.json"}


def largest(found: dict[str, np.ndarray], tensor: str) -> np.ndarray:
    """[layers, kv_heads, head_dim]"""
    return np.maximum(np.abs(found[f"{tensor}.minimum"]), np.abs(found[f"{tensor}.maximum"]))


def halves(pairs: np.ndarray) -> np.ndarray:
    return np.concatenate([pairs[..., 0::2], pairs[..., 1::2]], axis=-1)


def merged(values: dict, patch: dict) -> dict:
    """RFC 7396."""
    for key, value in patch.items():
        values[key] = merged(values.get(key, {}), value) if isinstance(value, dict) else value
    return values


class Exporters(ProgramTest):
    @classmethod
    def model(cls) -> tuple[Path, Path]:
        """A Hugging Face directory and the output of its calibration, made once: copy them."""
        if "_model" not in cls.__dict__:
            test = cls()
            test.folder = Path(tempfile.mkdtemp(prefix="kvcalib-test-"))
            cls.addClassCleanup(shutil.rmtree, test.folder, ignore_errors=True)
            decoder = random_decoder(5, "LlamaForCausalLM", layers=LAYERS, hidden=512, heads=4, kv_heads=HEADS,
                                     head_dim=WIDTH, intermediate=192, dtype="float16")
            weights = save(decoder, test.folder / "hf", files=2)
            cls._model = weights, test.calibrate(weights, test.windows(count=3, length=72, vocab=200))
        return cls._model

    def export(self, names: str, *arguments, weights: Path | None = None, output: str = "out") -> Path:
        directory, calibrated = self.model()
        place = self.folder / output
        self.succeed("export", "--for", names, "--stats", calibrated / STATISTICS, "--weights", weights or directory,
                     "--output", place, *arguments)
        return place

    def refused(self, names: str, *arguments, code: int = FAILED, weights: Path | None = None) -> str:
        directory, calibrated = self.model()
        run = kvcalib("export", "--for", names, "--stats", calibrated / STATISTICS, "--weights", weights or directory,
                      "--output", self.folder / "refused", *arguments)
        self.assertEqual(run.code, code, run.text)
        self.assertEqual(run.out, "")
        self.assertFalse((self.folder / "refused").exists())
        self.assertEqual(list(self.folder.glob(".refused*")), [])
        return run.err

    def largest(self, tensor: str) -> np.ndarray:
        return largest(statistics(self.model()[1]), tensor)


class Files(Exporters):
    def test_overlay(self):
        from safetensors.numpy import load_file
        for name in ("vllm", "sglang"):
            output = self.export(name, output=name)
            self.assertEqual(set(digests(output)), BESIDE | {"model-kvscales.safetensors", "config.merge.json",
                                                             "model.safetensors.index.json"})
            tensors = load_file(output / "model-kvscales.safetensors")
            self.assertEqual(len(tensors), 4 * LAYERS)
            for symbol, tensor in (("k", "key"), ("v", "value")):
                expected = self.largest(tensor).max(axis=(1, 2)) / np.float32(448)
                for layer in range(LAYERS):
                    for module in ("self_attn", "self_attn.attn"):
                        scale = tensors[f"model.layers.{layer}.{module}.{symbol}_scale"]
                        self.assertEqual((scale.dtype, scale.shape), (np.float32, (1,)))
                        self.assertEqual(scale[0], expected[layer])

    def test_overlay_beside_the_checkpoint(self):
        """As people lay it: the whole is a model that safetensors' users and this program still open."""
        from safetensors import safe_open
        output = self.export("vllm")
        served = Path(shutil.copytree(self.model()[0], self.folder / "served"))
        for file in ("model-kvscales.safetensors", "model.safetensors.index.json"):
            shutil.copyfile(output / file, served / file)
        index = json.loads((served / "model.safetensors.index.json").read_text())
        size = 0
        for file in set(index["weight_map"].values()):
            with safe_open(served / file, "np") as opened:
                names = set(opened.keys())
                size += sum(opened.get_tensor(name).nbytes for name in names)
            self.assertEqual(names, {name for name, place in index["weight_map"].items() if place == file})
        self.assertEqual(index["metadata"]["total_size"], size)
        run = self.succeed("calibrate", "--weights", served, "--dry-run", "--devices", "cpu")
        self.assertIn("k_scale", run.out)

        run = kvcalib("verify", "--for", "vllm", served)
        self.assertEqual(run.code, FAILED)
        self.assertIn("kv_cache_scheme", run.out)
        config = json.loads((served / "config.json").read_text())
        patch = json.loads((output / "config.merge.json").read_text())
        (served / "config.json").write_text(json.dumps(merged(config, patch)))
        self.succeed("verify", "--for", "vllm", served)

    def test_config_is_what_compressed_tensors_reads(self):
        if importlib.util.find_spec("compressed_tensors") is None:
            self.skipTest("compressed-tensors is not installed: scripts/setup.sh --dev")
        from compressed_tensors.quantization import QuantizationConfig
        patch = json.loads((self.export("vllm") / "config.merge.json").read_text())
        config = QuantizationConfig.model_validate(patch["quantization_config"])
        self.assertEqual(config.quant_method, "compressed-tensors")
        scheme = config.kv_cache_scheme
        scheme = scheme if hasattr(scheme, "num_bits") else type(scheme).model_validate(scheme)
        self.assertEqual((scheme.num_bits, scheme.type, scheme.strategy, scheme.dynamic, scheme.symmetric),
                         (8, "float", "tensor", False, True))

    def test_sglang_json(self):
        for ranks in (1, 2, 4):
            output = self.export("sglang-json", "--serving-tp", ranks, output=f"of-{ranks}")
            found = json.loads((output / "kv_cache_scales.json").read_text())
            self.assertEqual((found["model_type"], found["kv_cache"]["dtype"]), ("llama", "float8_e4m3fn"))
            both = np.maximum(self.largest("key"), self.largest("value")).max(axis=2)
            factors = found["kv_cache"]["scaling_factor"]
            self.assertEqual(set(factors), set(map(str, range(ranks))))
            for rank in range(ranks):
                own = both[:, rank * HEADS // ranks:max(rank * HEADS // ranks + 1, (rank + 1) * HEADS // ranks)]
                self.assertEqual([np.float32(factors[str(rank)][str(layer)]) for layer in range(LAYERS)],
                                 list(own.max(axis=1) / np.float32(448)))
            self.succeed("verify", "--for", "sglang-json", output, "--serving-tp", ranks)

    def test_lightllm(self):
        output = self.export("lightllm")
        for file, kind, axes in (("kv_cache_calib.json", "per_head", 2),
                                 ("kv_cache_calib_per_tensor.json", "per_tensor", (1, 2))):
            found = json.loads((output / file).read_text())
            expected = np.concatenate([self.largest(tensor).max(axis=axes).reshape(LAYERS, -1)
                                       for tensor in ("key", "value")], axis=1) / np.float32(448)
            self.assertEqual((found["quant_type"], found["architectures"], found["num_head"], found["num_layers"]),
                             (kind, "LlamaForCausalLM", HEADS, LAYERS))
            np.testing.assert_array_equal(np.float32(found["scales"]), expected)
            self.assertEqual(found["scales_shape"], list(expected.shape))

    def test_tensorrt_llm(self):
        from safetensors.numpy import load_file
        output = self.export("tensorrt-llm", "--serving-tp", 2)
        both = np.maximum(self.largest("key"), self.largest("value")).max(axis=2)
        for rank in range(2):
            tensors = load_file(output / f"rank{rank}.safetensors")
            self.assertEqual(len(tensors), LAYERS)
            for layer in range(LAYERS):
                scale = tensors[f"transformer.layers.{layer}.attention.kv_cache_scaling_factor"]
                self.assertEqual((scale.dtype, scale.shape), (np.float32, (1,)))
                self.assertEqual(scale[0], both[layer, rank] / np.float32(127))

    def test_ascend(self):
        from safetensors.numpy import load_file
        for name in ("vllm-ascend", "mindie"):
            output = self.export(name, output=name)
            tensors = load_file(output / "model-kvscales.safetensors")
            self.assertEqual(len(tensors), 4 * LAYERS)
            description = json.loads((output / "quant_model_description.json").read_text())
            self.assertEqual(description["kv_cache_type"], "C8")
            index = json.loads((output / "model.safetensors.index.json").read_text())["weight_map"]
            self.assertEqual(set(index) - set(tensors),
                             {tensor for tensor, kind in description.items() if kind == "FLOAT"})
            for symbol, order in (("k", halves), ("v", lambda channels: channels)):
                expected = order(self.largest({"k": "key", "v": "value"}[symbol])) / np.float32(127)
                for layer in range(LAYERS):
                    module = f"model.layers.{layer}.self_attn.{symbol}_proj."
                    scale, offset = tensors[module + "kv_cache_scale"], tensors[module + "kv_cache_offset"]
                    self.assertEqual((scale.dtype, scale.shape), (np.float16, (HEADS * WIDTH,)))
                    np.testing.assert_array_equal(scale, expected[layer].flatten().astype(np.float16))
                    np.testing.assert_array_equal(offset, np.zeros(HEADS * WIDTH, np.float16))
                    self.assertEqual(description[module + "kv_cache_scale"], "W8A8")

    def test_channels_are_those_of_the_checkpoints_rows(self):
        """Rows of k_proj that are made large show in the scales of the same numbers, not of their places in pairs."""
        import torch
        decoder = random_decoder(8, "LlamaForCausalLM", layers=1, hidden=512, heads=4, kv_heads=HEADS, head_dim=WIDTH,
                                 intermediate=192, dtype="float16")
        row = WIDTH + 3  # of head 1; RoPE turns it with row 3 + 64
        decoder.tensors["model.layers.0.self_attn.k_proj.weight"][row] *= 50
        weights = save(decoder, self.folder / "wide")
        ids = self.windows(count=2, length=40, vocab=200)
        output = self.calibrate(weights, ids, "--for", "vllm-ascend", name="wide-out")
        from safetensors.torch import load_file
        scales = load_file(output / "model-kvscales.safetensors")["model.layers.0.self_attn.k_proj.kv_cache_scale"]
        self.assertEqual(set(torch.topk(scales.float(), 2).indices.tolist()), {row, row + WIDTH // 2})

    def test_lmdeploy_ascend(self):
        text = (self.export("lmdeploy-ascend") / "record.txt").read_text()
        pairs = re.findall(r"scale:\s*([\d\.\-]+)\s*offset:\s*(-?\d+)", text)  # as LMDeploy finds them
        expected = np.stack([self.largest(tensor).max(axis=(1, 2)) for tensor in ("key", "value")], 1) / np.float32(127)
        self.assertEqual([np.float32(scale) for scale, _ in pairs], list(expected.flatten()))
        self.assertEqual({offset for _, offset in pairs}, {"0"})

    def test_kvcalib_json(self):
        found = json.loads((self.export("kvcalib-json") / "kvcalib.json").read_text())
        ranges = statistics(self.model()[1])
        for tensor, order in (("key", halves), ("value", lambda channels: channels)):
            for end in ("minimum", "maximum"):
                np.testing.assert_array_equal(np.float32([layer[tensor][end] for layer in found["layers"]]),
                                              order(ranges[f"{tensor}.{end}"]))
            heads = largest(ranges, tensor).max(axis=2)
            np.testing.assert_array_equal(
                np.float32([layer[tensor]["heads"]["int8_symmetric"] for layer in found["layers"]]),
                heads / np.float32(127))
        self.assertEqual(found["model"], {"layers": LAYERS, "heads": 4, "kv_heads": HEADS, "head_dim": WIDTH,
                                          "weight_type": "float16"})

    def test_summary_names_the_version_and_that_nothing_was_run(self):
        for name in OTHERS:
            output = self.export(name, output=name)
            summary = json.loads((output / "summary.json").read_text())
            self.assertEqual((summary["for"], summary["run_with_it"]), (name, False))
            self.assertEqual(bool(summary["written_against"]), name != "kvcalib-json")
            self.assertEqual(any("sglang#35455" in warning for warning in summary["warnings"]), name == "sglang")
            self.assertEqual(set(summary["files"]), set(digests(output)))


class Delivery(Exporters):
    def test_each_of_several_has_a_folder_and_the_same_files(self):
        names = ("turbomind", *OTHERS)
        output = self.export(",".join(names), "--serving-tp", 2)
        self.assertEqual({entry.name for entry in output.iterdir()}, set(names))
        for name in names:
            alone = self.export(name, *(("--serving-tp", 2) if name in ("turbomind", "sglang-json", "tensorrt-llm") else ()),
                                output=f"{name}-alone")
            both = digests(output / name), digests(alone)
            for found in both:
                found.pop("summary.json")  # names its place
            self.assertEqual(*both, name)
        self.succeed("verify", "--for", ",".join(names), output, "--serving-tp", 2)
        report = self.parse_json(self.succeed("verify", "--for", "vllm,lightllm", output, "--json").out)
        self.assertEqual([one["runtime"] for one in report["runtimes"]], ["vllm", "lightllm"])
        (output / "lightllm/kv_cache_calib.json").write_text("{}")
        run = kvcalib("verify", "--for", "vllm,lightllm", output)
        self.assertEqual(run.code, FAILED)
        self.assertIn("kv_cache_calib.json", run.out)

    def test_turbomind_is_the_default(self):
        directory, calibrated = self.model()
        for arguments, place in (((), "default"), (("--for", "turbomind"), "named")):
            self.succeed("export", "--stats", calibrated / STATISTICS, "--weights", directory, "--output",
                         self.folder / place, *arguments)
        first, second = digests(self.folder / "default"), digests(self.folder / "named")
        first.pop("summary.json"), second.pop("summary.json")
        self.assertEqual(first, second)

    def test_calibrate_makes_what_export_makes(self):
        directory, _ = self.model()
        ids = self.windows(count=3, length=72, vocab=200)
        run = self.succeed("calibrate", "--weights", directory, "--data", ids, *shape_options(ids), "--devices", "cpu",
                           "--quiet", "--output", self.folder / "made", "--for", "vllm,kvcalib-json", "--json")
        self.assertEqual(set(self.parse_json(run.out)), {"vllm", "kvcalib-json"})
        exported = self.export("vllm,kvcalib-json")
        for name in ("vllm/model-kvscales.safetensors", "kvcalib-json/kvcalib.json", "vllm/" + STATISTICS):
            self.assertEqual((self.folder / "made" / name).read_bytes(), (exported / name).read_bytes(), name)
        self.assertEqual({str(file.relative_to(exported)) for file in exported.rglob("*")},
                         {str(file.relative_to(self.folder / "made")) for file in (self.folder / "made").rglob("*")})

    def test_statistics_of_turbomind_weights_serve_where_no_names_are_needed(self):
        output = self.folder / "out"
        names = "kvcalib-json,tensorrt-llm,lmdeploy-ascend"
        self.succeed("export", "--for", names, "--stats", self.calibrated() / STATISTICS, "--weights", TINY / "weights",
                     "--output", output)
        self.succeed("verify", "--for", names, output)
        run = kvcalib("export", "--for", "vllm", "--stats", self.calibrated() / STATISTICS, "--weights", TINY / "weights",
                      "--output", self.folder / "refused")
        self.assertEqual(run.code, FAILED)
        self.assertIn("--for vllm reads scales by the names of a Hugging Face model", run.err)

    def test_an_earlier_output_is_replaced_with_force_alone(self):
        output = self.export("vllm,lightllm")
        directory, calibrated = self.model()
        again = ["export", "--for", "lightllm", "--stats", calibrated / STATISTICS, "--weights", directory, "--output", output]
        for arguments in (again, [*again, "--force"]):
            run = kvcalib(*arguments)
            self.assertEqual(run.code, FAILED)
            self.assertIn("lightllm", run.err)
        two = ["vllm,lightllm" if word == "lightllm" else word for word in again]
        self.assertIn("--force", kvcalib(*two).err)
        (output / "lightllm/mine.txt").write_text("mine")
        run = kvcalib(*two, "--force")
        self.assertIn("lightllm/mine.txt", run.err)
        (output / "lightllm/mine.txt").unlink()
        self.succeed(*two, "--force")

    def test_all_folders_appear_at_once_and_a_killed_run_leaves_none(self):
        directory, calibrated = self.model()
        whole = digests(self.export("vllm,mindie", output="whole"))
        below = self.folder / "below"
        below.mkdir()
        arguments = ["export", "--for", "vllm,mindie", "--stats", calibrated / STATISTICS, "--weights", directory, "--output",
                     below / "out"]
        names = {name for name in whole if not name.endswith("summary.json")}
        steps = 0
        process = start_stepped(below, *arguments)
        for steps in stops(process):
            if (below / "out").exists():
                self.assertLessEqual(names, set(digests(below / "out")))
        process.communicate()
        self.assertEqual(process.returncode, 0)
        self.assertGreater(steps, len(names))
        shutil.rmtree(below / "out")
        for step in range(1, steps, 7):
            process = start_stepped(below, *arguments)
            for number in stops(process):
                if number == step:
                    process.kill()
            process.communicate()
            if (below / "out").exists():
                self.assertEqual(set(digests(below / "out")), set(whole), step)
                shutil.rmtree(below / "out")
        self.succeed(*arguments)
        self.assertEqual({entry.name for entry in below.iterdir()}, {"out"}, "what killed runs left is cleared")

    def test_a_dry_run_tells_the_files(self):
        directory, _ = self.model()
        before = digests(self.folder)
        run = self.succeed("calibrate", "--weights", directory, "--dry-run", "--devices", "cpu", "--for", "vllm,tensorrt-llm",
                           "--serving-tp", 2, "--output", self.folder / "out")
        for word in ("model-kvscales.safetensors", "rank1.safetensors", "out/vllm", "absmax / 448"):
            self.assertIn(word, run.out)
        self.assertEqual(digests(self.folder), before)


class Refusals(Exporters):
    def test_names_and_options_that_mean_nothing(self):
        for names, arguments, said in (("vlm", (), "did you mean vllm?"), ("vllm,vllm", (), "twice"),
                                       ("VLLM", (), "did you mean vllm?"), ("trtllm", (), "did you mean tensorrt-llm?"),
                                       ("ascend", (), "did you mean vllm-ascend or lmdeploy-ascend?"),
                                       ("abacus", (), "which are turbomind, vllm, sglang,"),
                                       ("vllm", ("--for", "sglang"), "--for is given twice"), ("", (), "nobody"),
                                       ("vllm", ("--symmetric",), "--symmetric is of turbomind"),
                                       ("vllm", ("--runtime", "0.3.0"), "--runtime is of turbomind"),
                                       ("vllm", ("--serving-tp", 2), "--serving-tp changes nothing")):
            self.assertIn(said, self.refused(names, *arguments, code=WRONG_USAGE))
        directory, calibrated = self.model()
        run = kvcalib("export", "--for", "vllm", "--stats", calibrated / STATISTICS, "--weights", directory, "--in-place")
        self.assertEqual(run.code, WRONG_USAGE)
        self.assertIn("--in-place is of turbomind alone", run.err)

    def test_ranks_that_heads_do_not_divide_among(self):
        self.assertIn("2 kv heads", self.refused("tensorrt-llm", "--serving-tp", 3))

    def test_other_weights(self):
        decoder = random_decoder(6, "LlamaForCausalLM", layers=LAYERS, hidden=512, heads=4, kv_heads=HEADS, head_dim=WIDTH,
                                 intermediate=192, dtype="float16")
        self.assertIn("other weights", self.refused("vllm", weights=save(decoder, self.folder / "other")))

    def test_a_model_that_rotates_otherwise_now(self):
        weights = Path(shutil.copytree(self.model()[0], self.folder / "turned"))
        config = json.loads((weights / "config.json").read_text())
        (weights / "config.json").write_text(json.dumps(config | {"rope_theta": 500000.0}))
        self.assertIn("rotates otherwise", self.refused("vllm", weights=weights))

    def test_a_family_whose_loader_drops_scales_before_any_work(self):
        decoder = random_decoder(3, "InternLM2ForCausalLM", layers=1, dtype="float16")
        weights = save(decoder, self.folder / "internlm2")
        ids = self.windows(count=2, length=40, vocab=200)
        run = kvcalib("calibrate", "--weights", weights, "--data", ids, *shape_options(ids), "--devices", "cpu", "--for",
                      "vllm", "--output", self.folder / "out")
        self.assertEqual(run.code, FAILED)
        self.assertIn("architectures names 'InternLM2ForCausalLM'", run.err)
        self.assertNotIn("layer", run.out)
        self.assertFalse((self.folder / "out").exists())


class Verify(Exporters):
    def faults(self, name: str, directory: Path) -> list[str]:
        run = kvcalib("verify", "--for", name, directory, "--json")
        found = self.parse_json(run.out)["faults"]
        self.assertEqual(run.code, FAILED if found else 0)
        return found

    def test_what_was_exported(self):
        for name in OTHERS:
            self.assertEqual(self.faults(name, self.export(name, output=name)), [], name)

    def test_scales_that_another_tool_spoilt(self):
        from safetensors.numpy import load_file, save_file
        output = self.export("vllm")
        file = output / "model-kvscales.safetensors"
        tensors = load_file(file)
        other = {name: name.replace(".k_scale", ".v_scale") if "k_scale" in name else name.replace(".v_scale", ".k_scale")
                 for name in tensors}
        spoils = {"all scales are 1": lambda name: np.ones(1, np.float32),
                  "finite number above 0": lambda name: np.zeros(1, np.float32),
                  "the reciprocals": lambda name: 1 / tensors[name],
                  "K has V's scales": lambda name: tensors[other[name]],
                  "not what kv_stats.safetensors gives": lambda name: tensors[name] * np.float32(0.9)}
        for said, spoil in spoils.items():
            save_file({name: spoil(name) for name in tensors}, file)
            self.assertTrue(any(said in fault for fault in self.faults("vllm", output)), said)

    def test_one_of_several_without_a_folder(self):
        output = self.export("vllm,lightllm")
        shutil.rmtree(output / "vllm")
        run = kvcalib("verify", "--for", "vllm,lightllm,turbomind", output, "--json")
        self.assertEqual(run.code, FAILED)
        found = self.parse_json(run.out)
        self.assertEqual([one["ok"] for one in found["runtimes"]], [False, True, False])
        self.assertIn("no directory", found["runtimes"][0]["faults"][0])

    def test_without_statistics_it_says_what_it_did_not_see(self):
        output = self.export("vllm")
        self.assertIn("as they are meant", self.succeed("verify", "--for", "vllm", output).out)
        (output / STATISTICS).unlink()
        said = self.succeed("verify", "--for", "vllm", output).out
        self.assertNotIn("as they are meant", said)
        self.assertIn("was not seen without kv_stats.safetensors", said.splitlines()[-1])
        found = self.parse_json(self.succeed("verify", "--for", "vllm", output, "--json").out)
        self.assertIn("was not seen", found["unseen"])

    def test_an_empty_directory(self):
        for name in OTHERS:
            self.assertEqual(len(self.faults(name, self.folder)), 1, name)
        run = kvcalib("verify", "--for", "vllm", self.folder / "nowhere")
        self.assertEqual(run.code, FAILED)
        self.assertIn("no directory", run.err)


if __name__ == "__main__":
    unittest.main()
