# SPDX-License-Identifier: Apache-2.0
"""`plan`: the memory of a model in service."""

import unittest

from program import ROOT, ProgramTest, kvcalib

PRESET = ROOT / "configs/internlm-104b.json"


class Plan(ProgramTest):
    def plan(self, *arguments) -> dict:
        return self.parse_json(self.succeed("plan", "--json", *arguments).out)

    def test_of_the_published_model_says_why_int8_saves_less_than_half_of_the_cache(self):
        arguments = ("--weights", PRESET, "--devices", "8", "--runtime", "0.0.14", "--batch", "16,32")
        rows = self.plan(*arguments)["rows"]
        self.assertEqual([(row["sessions"], row["kv"]) for row in rows],
                         [(16, "fp16"), (16, "int8"), (32, "fp16"), (32, "int8")])
        for row, published in zip(rows, (43, 40, 60, 48)):
            self.assertAlmostEqual(row["total_bytes"] / 1e9, published, delta=1.5)
            parts = ("weights", "tables", "cache", "buffers", "unfused_attention", "context")
            self.assertEqual(row["total_bytes"], sum(row[part + "_bytes"] for part in parts))
        self.assertEqual(rows[1]["cache_bytes"] * 2, rows[0]["cache_bytes"])
        self.assertGreater(rows[1]["unfused_attention_bytes"], 1e9)
        self.assertIn("without its fused kernels", self.succeed("plan", *arguments).out)

    def test_of_a_paged_cache_says_that_tokens_double(self):
        plan = self.plan("--weights", PRESET, "--devices", "8", "--batch", "16")
        half, whole = plan["rows"]
        self.assertAlmostEqual(whole["cached_tokens"] / half["cached_tokens"], 2, delta=0.01)
        self.assertAlmostEqual(plan["sessions_that_fit"]["fp16"], 51, delta=2)
        self.assertAlmostEqual(plan["sessions_that_fit"]["int8"], 102, delta=3)
        self.assertIn("doubles the tokens", " ".join(plan["notes"]))

    def test_takes_what_config_ini_says(self):
        weights = self.tiny()
        before = self.plan("--weights", weights)
        config = weights / "config.ini"
        config.write_text(config.read_text().replace("cache_max_entry_count = 0.8", "cache_max_entry_count = 100"))
        after = self.plan("--weights", weights)
        self.assertIn("cache_max_entry_count = 100", after["settings"])
        self.assertNotEqual(before["rows"][0]["cache_bytes"], after["rows"][0]["cache_bytes"])
        self.assertEqual(after["rows"][1]["cached_tokens"], after["rows"][0]["cached_tokens"])

    def test_refuses_what_no_release_could_serve(self):
        for arguments, message in {
            ("--weights", PRESET, "--devices", "7"): "7",
            ("--weights", PRESET, "--runtime", "0.0.14", "--session", "8192"): "4096",
            ("--weights", PRESET, "--runtime", "0.4.0"): "has no scale files",
        }.items():
            run = kvcalib("plan", *arguments)
            self.assertEqual((run.code, run.out), (1, ""), arguments)
            self.assertIn(message, run.err)

    def test_refuses_loads_that_cannot_be(self):
        for arguments, message in {
            ("--session", "100", "--prompt", "101"): "longer than a session of 100",
            ("--batch", "1,,2"): "--batch ''",
            ("--batch", "0"): "at least 1",
            ("--batch", "9223372036854775807"): "at most",
            ("--session", "9223372036854775807"): "at most",
            ("--card", "9223372036854775807"): "at most",
        }.items():
            run = kvcalib("plan", "--weights", PRESET, *arguments)
            self.assertEqual((run.code, run.out), (2, ""), arguments)
            self.assertIn(message, run.err)


if __name__ == "__main__":
    unittest.main()
