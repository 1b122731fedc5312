# SPDX-License-Identifier: Apache-2.0
"""Help, version and dry runs: what the program tells before it does anything."""

import json
import re
import unittest

from program import ROOT, TINY, ProgramTest, digests, kvcalib

OPTIONS = {
    "calibrate": ["--weights", "--data", "--output", "--in-place", "--tokenizer", "--samples", "--length", "--seed",
                  "--pack", "--histograms", "--for", "--runtime", "--serving-tp", "--method", "--symmetric", "--session-len",
                  "--devices", "--micro-batch", "--force", "--dry-run", "--trace", "--quiet", "--json", "--help"],
    "export": ["--stats", "--weights", "--output", "--in-place", "--for", "--runtime", "--serving-tp", "--method", "--symmetric",
               "--session-len", "--force", "--help"],
    "equalise": ["--weights", "--stats", "--output", "--in-place", "--exact", "--session-len", "--force", "--quiet", "--help"],
    "verify": ["--for", "--runtime", "--serving-tp", "--json", "--help"],
    "inspect": ["--json", "--help"],
    "plan": ["--weights", "--devices", "--runtime", "--batch", "--session", "--prompt", "--card", "--json", "--help"],
    "shard": ["--weights", "--output", "--tp", "--runtime", "--model-name", "--force", "--quiet", "--help"],
}
PRESET = ROOT / "configs/internlm-104b.json"


class Help(ProgramTest):
    def help_of(self, *arguments) -> str:
        run = self.succeed(*arguments)
        self.assertEqual(run.err, "")
        for line in run.out.splitlines():
            self.assertLessEqual(len(line), 80, line)
            self.assertEqual(line, line.rstrip())
        return run.out

    def test_of_the_program_lists_the_commands(self):
        for arguments in (["--help"], []):
            text = self.help_of(*arguments)
            for command in OPTIONS:
                self.assertIn(command, text)

    def test_of_each_command_lists_every_option(self):
        for command, options in OPTIONS.items():
            text = self.help_of(command, "--help")
            listed = set(re.findall(r"(?<![\w-])--[a-z-]+", text))
            for option in options:
                self.assertIn(option, listed, command)

    def test_is_grouped(self):
        text = self.help_of("calibrate", "--help")
        places = [text.index(group) for group in ("Input", "Calibration", "Output", "Parallelism")]
        self.assertEqual(places, sorted(places))

    def test_version(self):
        run = self.succeed("--version")
        self.assertRegex(run.out, r"^kvcalib \d+\.\d+\.\d+\n$")


class DryRun(ProgramTest):
    def plan(self, *arguments) -> dict:
        return self.parse_json(self.succeed("calibrate", "--dry-run", "--json", "--devices", "cpu", *arguments).out)

    def test_writes_nothing(self):
        weights = self.tiny()
        before = digests(self.folder)
        for place in (["--output", self.folder / "output"], ["--in-place"]):
            run = self.succeed("calibrate", "--weights", weights, "--data", TINY / "text.jsonl", "--devices", "cpu",
                               "--dry-run", *place)
            for word in ("layers.0.past_kv_scale.0.weight", "config.ini", "kv_stats.safetensors", "128", "2048"):
                self.assertIn(word, run.out)
        self.assertEqual(digests(self.folder), before)

    def test_plans_for_a_preset_without_weights(self):
        text = self.succeed("calibrate", "--weights", PRESET, "--dry-run", "--devices", "cpu").out
        for word in ("82", "10240", "656", "GB"):
            self.assertIn(word, text)
        plan = self.plan("--weights", PRESET)
        # Per layer: qkv, output, gate, up, down and two norms.
        layer = 4 * 10240**2 + 3 * 10240 * 27392 + 2 * 10240
        self.assertEqual(plan["bytes_to_read"], 82 * 2 * layer)
        self.assertEqual((plan["scale_files"], plan["serving_tp"]), (656, 8))
        self.assertLess(plan["memory_bytes_per_device"], 40e9, "two layers and the activations, not the model")

    def test_memory_follows_the_samples_and_the_devices(self):
        small, large = (self.plan("--weights", PRESET, "--samples", samples)["memory_bytes_per_device"]
                        for samples in (8, 128))
        self.assertLess(small, large)
        shared = self.parse_json(self.succeed("calibrate", "--dry-run", "--json", "--devices", "cpu:4", "--weights",
                                              PRESET).out)
        self.assertLess(shared["memory_bytes_per_device"], large)

    def test_every_preset_can_be_planned_for(self):
        presets = sorted((ROOT / "configs").glob("*.json"))
        self.assertGreaterEqual(len(presets), 6)
        for preset in presets:
            shape = json.loads(preset.read_text())
            plan = self.plan("--weights", preset)
            self.assertEqual((plan["layers"], plan["hidden"]), (shape["layers"], shape["hidden"]), preset.name)
            self.assertEqual(plan["scale_files"], shape["layers"] * shape["tensor_para_size"], preset.name)

    def test_refuses_what_a_run_would_refuse(self):
        run = kvcalib("calibrate", "--weights", PRESET, "--dry-run", "--devices", "cpu", "--runtime", "0.4.0")
        self.assertEqual(run.code, 1)
        run = kvcalib("calibrate", "--weights", self.folder / "none.json", "--dry-run", "--devices", "cpu")
        self.assertEqual(run.code, 1)
        self.assertIn("none.json", run.err)


if __name__ == "__main__":
    unittest.main()
