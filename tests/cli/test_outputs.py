# SPDX-License-Identifier: Apache-2.0
"""What calibrate and export leave behind: files, config patch, backup, and text on the two streams."""

import json
import re
import shutil
import struct
import subprocess
import unittest
from pathlib import Path

import numpy as np

from program import (TINY, TINY_LAYERS, TINY_RANKS, ProgramTest, config_values, digests, kvcalib, scales, shape_options,
                     statistics)
from reference import calibration
from reference.models import random_model

REPORTS = {"config.ini", "config.patch", "kv_stats.safetensors", "summary.json"}


def scale_names(layers: int = TINY_LAYERS, ranks: int = TINY_RANKS) -> set[str]:
    return {f"layers.{layer}.past_kv_scale.{rank}.weight" for layer in range(layers) for rank in range(ranks)}


def changed_keys(before: Path, after: Path) -> dict[str, str]:
    old, new = config_values(before), config_values(after)
    return {key: new.get(key) for key in old.keys() | new.keys() if old.get(key) != new.get(key)}


class Outputs(ProgramTest):
    def reference_scales(self, output: Path, **options) -> dict[str, bytes]:
        """What the scale files must hold, computed from the statistics beside them."""
        import torch
        ranges = calibration.Ranges(self.served(output), torch.float16)
        return calibration.scale_files(ranges, options.pop("ranks", TINY_RANKS), **options)

    def served(self, output: Path) -> dict:
        """The ranges of K and V in sessions as long as the embedded model's."""
        length = self.parse_json((output / "summary.json").read_text())["length"]
        session = int(config_values(TINY / "weights")["session_len"])
        config = calibration.Config.read(TINY / "weights")
        return calibration.served_ranges(statistics(output), config, "0.3.0", length, session)

    def in_place(self, weights: Path, data: Path, *arguments):
        return kvcalib("calibrate", "--weights", weights, "--data", data, "--in-place", "--devices", "cpu",
                       "--quiet", *shape_options(data), *arguments)

    def test_output_directory_holds_these_files_and_no_other(self):
        before = digests(TINY)
        output = self.calibrate(TINY / "weights", self.windows())
        self.assertEqual({file.name for file in output.iterdir()}, scale_names() | REPORTS)
        self.assertEqual({len(data) for data in scales(output).values()}, {16})
        self.assertEqual({entry.name for entry in self.folder.iterdir()}, {"output", "ids-0.npy"}, "something is left")
        self.assertEqual(digests(TINY), before)

    def test_config_keeps_every_byte_but_those_that_must_change(self):
        output = self.calibrate(TINY / "weights", self.windows())
        original = (TINY / "weights/config.ini").read_bytes()
        self.assertEqual((output / "config.ini").read_bytes(),
                         original.replace(b"quant_policy = 0", b"quant_policy = 4"))

    def test_config_patch_applies(self):
        if not shutil.which("patch"):
            self.skipTest("the program patch is not installed")
        weights = self.tiny()
        # Comments, odd spacing and line ends of another system survive as well.
        lines = (weights / "config.ini").read_text().replace("\n", "\r\n").replace(" = 64\r", "=64 ; a comment\r")
        (weights / "config.ini").write_bytes(lines.encode())
        output = self.calibrate(weights, self.windows(), "--runtime", "0.0.14")
        scratch = self.folder / "patched"
        scratch.mkdir()
        shutil.copyfile(weights / "config.ini", scratch / "config.ini")
        subprocess.run(["patch", "-p1", "--binary", "-i", output / "config.patch"], cwd=scratch, check=True,
                       capture_output=True)
        self.assertEqual((scratch / "config.ini").read_bytes(), (output / "config.ini").read_bytes())
        self.assertEqual(changed_keys(weights, output), {"quant_policy": "4", "use_context_fmha": "0"})

    def test_summary_says_what_was_done(self):
        output = self.calibrate(TINY / "weights", self.windows(count=4, length=64))
        summary = self.parse_json((output / "summary.json").read_text())
        self.assertEqual((summary["runtime"].lstrip("v"), summary["serving_tp"]), ("0.3.0", TINY_RANKS))
        self.assertEqual((summary["samples"], summary["length"]), (4, 64))
        self.assertEqual(set(summary["files"]), scale_names() | REPORTS)
        self.assertEqual(len(summary["scales"]), len(scale_names()))
        self.assertTrue(summary["data"][0]["sha256"])

    def test_statistics_tell_their_origin(self):
        output = self.calibrate(TINY / "weights", self.windows())
        header_bytes = (output / "kv_stats.safetensors").read_bytes()
        size = struct.unpack_from("<Q", header_bytes)[0]
        metadata = json.loads(header_bytes[8:8 + size])["__metadata__"]
        self.assertTrue(all(isinstance(value, str) for value in metadata.values()))
        said = json.dumps(metadata)
        for word in ("version", "fingerprint", "seed", "samples", "length", "dtype", "sha256"):
            self.assertIn(word, said)

    def test_copied_files_are_enough(self):
        weights = self.tiny()
        output = self.calibrate(weights, self.windows())
        for file in output.iterdir():
            shutil.copyfile(file, weights / file.name)
        self.succeed("verify", weights)
        self.succeed("verify", weights, "--serving-tp", TINY_RANKS)

    def test_in_place_gives_the_same_set_and_keeps_the_old_config(self):
        weights, ids = self.tiny(), self.windows()
        before, original = digests(weights), (weights / "config.ini").read_bytes()
        output = self.calibrate(weights, ids)
        run = self.in_place(weights, ids)
        self.assertEqual(run.code, 0, run.err)
        self.assertEqual(scales(weights), scales(output))
        self.assertEqual((weights / "config.ini").read_bytes(), (output / "config.ini").read_bytes())
        self.assert_same_statistics(weights, output)
        after = digests(weights)
        self.assertEqual({name for name in before if before[name] != after.get(name)}, {"config.ini"})
        kept = [name for name in after if name.startswith("config.ini") and name != "config.ini"]
        self.assertEqual([(weights / name).read_bytes() for name in kept], [original], "no backup of config.ini")
        self.assertFalse([name for name in after if name.startswith(".")], "working files are left")
        self.assertFalse([name for name, content in after.items() if content.startswith("link")], "links are left")
        self.succeed("verify", weights)

    def test_existing_scales_are_replaced_only_with_force(self):
        weights = self.tiny()
        self.assertEqual(self.in_place(weights, self.windows(1)).code, 0)
        first = digests(weights)
        refused = self.in_place(weights, self.windows(2))
        self.assertEqual(refused.code, 1)
        self.assertIn("--force", refused.err)
        self.assertEqual(digests(weights), first)
        forced = self.in_place(weights, self.windows(2), "--force")
        self.assertEqual(forced.code, 0, forced.err)
        self.assertEqual(scales(weights), scales(self.calibrate(TINY / "weights", self.windows(2), name="expected")))
        self.assertNotEqual(digests(weights), first)

    def test_output_directory_is_replaced_only_with_force(self):
        output = self.calibrate(TINY / "weights", self.windows(1))
        first = digests(output)
        ids = self.windows(2)
        arguments = ("calibrate", "--weights", TINY / "weights", "--data", ids, *shape_options(ids), "--output", output,
                     "--devices", "cpu", "--quiet")
        refused = kvcalib(*arguments)
        self.assertEqual(refused.code, 1)
        self.assertIn("--force", refused.err)
        self.assertEqual(digests(output), first)
        self.succeed(*arguments, "--force")
        self.assertEqual(scales(output), scales(self.calibrate(TINY / "weights", self.windows(2), name="expected")))

    def test_symmetric_scales(self):
        output = self.calibrate(TINY / "weights", self.windows(), "--symmetric")
        found = scales(output)
        self.assertEqual(found, self.reference_scales(output, symmetric=True))
        for name, data in found.items():
            key_scale, key_zero, value_scale, value_zero = struct.unpack("<4f", data)
            self.assertEqual((key_zero, value_zero), (0.0, 0.0), name)
            self.assertTrue(key_scale > 0 and value_scale > 0, name)

    def test_margins_widen_the_range(self):
        import torch
        output = self.calibrate(TINY / "weights", self.windows(), "--method", "minmax-margin:margin=1.25")
        wider = calibration.Ranges({name: 1.25 * values for name, values in self.served(output).items()}, torch.float16)
        self.assertEqual(scales(output), calibration.scale_files(wider, TINY_RANKS))
        self.assertIn("minmax-margin:margin=1.25", (output / "summary.json").read_text())
        self.succeed("verify", output)
        self.succeed("export", "--stats", output / "kv_stats.safetensors", "--weights", TINY / "weights", "--output",
                     self.folder / "exported", "--method", "symmetric-margin:margin=1.25", "--runtime", "0.0.3")
        self.assertEqual(scales(self.folder / "exported"),
                         calibration.scale_files(wider, TINY_RANKS, runtime="0.0.3"))

    def test_of_sessions_that_are_longer_than_windows(self):
        output = self.calibrate(TINY / "weights", self.windows())
        summary = self.parse_json((output / "summary.json").read_text())
        self.assertEqual(summary["session_length"], 2056)
        self.assertGreater(summary["widening_beyond_windows"], 1)
        exports = {}
        for session in (1, 2056, 100000):
            run = self.succeed("export", "--stats", output / "kv_stats.safetensors", "--weights", TINY / "weights",
                               "--output", self.folder / f"of-{session}", "--session-len", session)
            self.assertEqual("K's ranges are derived" in run.out, session > 1)
            self.succeed("verify", self.folder / f"of-{session}")
            exports[session] = scales(self.folder / f"of-{session}")
        self.assertEqual(exports[2056], scales(output))
        widths = [np.array([struct.unpack("<4f", data)[0] for data in exported.values()])
                  for exported in exports.values()]
        self.assertTrue(np.all(widths[1] >= widths[0]) and np.any(widths[1] > widths[0]))
        self.assertTrue(np.all(widths[2] >= widths[1]))
        self.assertIn("session_len is 2056, and longer sessions may leave", self.succeed(
            "export", "--stats", output / "kv_stats.safetensors", "--weights", TINY / "weights", "--output",
            self.folder / "of-1", "--force", "--session-len", 1).err)
        self.assertIn("longer ones may leave the ranges of K", self.succeed("verify", self.folder / "of-1").text)
        self.assertNotIn("longer ones", self.succeed("verify", output).text)
        (output / "summary.json").unlink()  # either length explains the files
        self.succeed("verify", output)
        config = (self.folder / "of-2056/config.ini").read_text()
        (self.folder / "of-2056/config.ini").write_text(config.replace("session_len = 2056", "session_len = 32768"))
        self.succeed("verify", self.folder / "of-2056")  # whatever the note
        for length in ('"2056"', "1e300", "2056.5", "0", "-3", str(2**64), "null", "[1]"):
            summary = (self.folder / "of-100000/summary.json").read_text()
            (self.folder / "of-100000/summary.json").write_text(
                re.sub(r'"session_length": \d+', f'"session_length": {length}', summary))
            run = kvcalib("verify", self.folder / "of-100000")
            self.assertEqual(run.code, 1, length)  # of another length than is told
            self.assertIn("session_length is no whole number", run.text)
            (self.folder / "of-100000/summary.json").write_text(summary)
        copied = self.folder / "of-1"
        (copied / "summary.json").unlink()
        self.succeed("verify", copied)
        for tokens in ("0", "-1", "1e3", 2**24 + 1):
            run = kvcalib("export", "--stats", output / "kv_stats.safetensors", "--weights", TINY / "weights",
                          "--output", self.folder / "refused", "--session-len", tokens)
            self.assertEqual(run.code, 2, tokens)

    def test_statistics_that_do_not_tell_of_longer_sessions(self):
        from safetensors import safe_open
        from safetensors.numpy import save_file
        output = self.calibrate(TINY / "weights", self.windows())
        with safe_open(output / "kv_stats.safetensors", "np") as file:
            metadata = file.metadata() | {"version": "1"}
        first = self.folder / "first.safetensors"
        save_file({name: tensor for name, tensor in statistics(output).items() if name != "key.reach"}, first, metadata)
        arguments = ["export", "--weights", TINY / "weights", "--stats"]
        run = self.succeed(*arguments, first, "--output", self.folder / "first")
        self.assertIn("does not tell what K's rotation does beyond its windows", run.err)
        self.succeed("verify", self.folder / "first")
        self.succeed(*arguments, output / "kv_stats.safetensors", "--session-len", 1, "--output", self.folder / "windows")
        self.assertEqual(scales(self.folder / "first"), scales(self.folder / "windows"))

    def test_methods_that_cannot_be(self):
        place = ("calibrate", "--weights", TINY / "weights", "--data", self.windows(), "--output", self.folder / "none")
        for arguments, code, told in (
                (("--method", "minimax"), 2, "expected one of asymmetric, symmetric, minmax-margin"),
                (("--method", "minmax-margin:margin=3"), 2, "margin is 3, expected 1 to 2"),
                (("--method", "symmetric", "--symmetric"), 2, "exclude each other"),
                (("--method", "minmax-margin", "--runtime", "0.0.3"), 1, "give symmetric or symmetric-margin")):
            run = kvcalib(*place, *arguments)
            self.assertEqual(run.code, code, run.err)
            self.assertIn(told, run.err)
        self.assertFalse((self.folder / "none").exists())

    def test_files_for_v0_0_3_hold_two_values(self):
        output = self.calibrate(TINY / "weights", self.windows(), "--runtime", "0.0.3")
        self.assertEqual({len(data) for data in scales(output).values()}, {8})
        self.assertEqual(scales(output), self.reference_scales(output, runtime="0.0.3"))
        self.assertEqual(changed_keys(TINY / "weights", output), {"quant_policy": "4", "use_context_fmha": "0"})
        self.succeed("verify", output, "--runtime", "0.0.3")

    def test_export_gives_the_same_bytes(self):
        output, exported = self.calibrate(TINY / "weights", self.windows()), self.folder / "exported"
        self.succeed("export", "--stats", output / "kv_stats.safetensors", "--weights", TINY / "weights", "--output",
                     exported)
        self.assertEqual(scales(exported), scales(output))
        self.assertEqual((exported / "config.ini").read_bytes(), (output / "config.ini").read_bytes())
        self.assert_same_statistics(exported, output)

    def test_export_in_place_and_for_another_runtime(self):
        weights = self.tiny()
        output = self.calibrate(weights, self.windows())
        self.succeed("export", "--stats", output / "kv_stats.safetensors", "--weights", weights, "--in-place",
                     "--runtime", "0.0.14", "--symmetric")
        self.assertEqual(scales(weights), self.reference_scales(output, symmetric=True))
        self.assertEqual(changed_keys(TINY / "weights", weights), {"quant_policy": "4", "use_context_fmha": "0"})
        self.succeed("verify", weights, "--runtime", "0.0.14")

    def test_export_refuses_a_runtime_that_rotates_otherwise(self):
        model = random_model(31, layers=2, heads=2, intermediate=256)
        weights = self.write(model, 1, name="scaled", changes={"rope_scaling_factor": "2.0"})
        output = self.calibrate(weights, self.windows(31, vocab=model.vocab))
        run = kvcalib("export", "--stats", output / "kv_stats.safetensors", "--weights", weights, "--output",
                               self.folder / "exported", "--runtime", "0.2.6")
        self.assertEqual(run.code, 1)
        self.assertIn("v0.2.6 rotates this model's otherwise", run.err)
        self.assertFalse((self.folder / "exported").exists())

    def test_export_for_other_serving_ranks(self):
        model = random_model(30, layers=2, heads=4, kv_heads=4, intermediate=256)
        ids = self.windows(30, vocab=model.vocab)
        whole, cut = self.write(model, 1, name="whole"), self.write(model, 2, name="cut")
        output = self.calibrate(whole, ids)
        for ranks in (1, 2, 4):
            exported = self.folder / f"exported-{ranks}"
            self.succeed("export", "--stats", output / "kv_stats.safetensors", "--weights", whole, "--output",
                         exported, "--serving-tp", ranks)
            self.assertEqual(scales(exported), self.reference_scales(output, ranks=ranks))
            self.assertEqual(set(scales(exported)), scale_names(2, ranks))
        # The same model cut for two ranks takes the statistics as well.
        self.succeed("export", "--stats", output / "kv_stats.safetensors", "--weights", cut, "--output",
                     self.folder / "for-cut")
        self.assertEqual(scales(self.folder / "for-cut"), scales(self.folder / "exported-2"))

    def test_results_go_to_stdout_and_progress_to_stderr(self):
        ids = self.windows()
        arguments = ("calibrate", "--weights", TINY / "weights", "--data", ids, *shape_options(ids), "--devices", "cpu",
                     "--output")
        loud = self.succeed(*arguments, self.folder / "loud")
        self.assertIn("layer", loud.err.lower())
        self.assertNotIn("\r", loud.err, "a bar belongs on a terminal only")
        self.assertIn("loud", loud.out)
        quiet = self.succeed(*arguments, self.folder / "quiet", "--quiet")
        self.assertEqual(quiet.err, "")
        self.assertTrue(quiet.out)

    def test_json_is_the_only_thing_on_stdout(self):
        ids = self.windows()
        for devices in ("cpu", "cpu:2"):
            run = self.succeed("calibrate", "--weights", TINY / "weights", "--data", ids, *shape_options(ids),
                               "--devices", devices, "--output", self.folder / devices.replace(":", "-"), "--json")
            result = self.parse_json(run.out)
            self.assertEqual(result["serving_tp"], TINY_RANKS)
            self.assertEqual(len(result["scales"]), len(scale_names()))


if __name__ == "__main__":
    unittest.main()
