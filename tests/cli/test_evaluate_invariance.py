# SPDX-License-Identifier: Apache-2.0
"""What the report of `kvcalib evaluate` must not depend on: ranks, micro-batches, groups, other streams, a limit."""

import json
import unittest

import numpy as np

from evaluation import TEXT, EvaluationTest, named, own_ids, read_report, report_bytes, streams_of


class Invariance(EvaluationTest):
    def setUp(self):
        super().setUp()
        texts = [json.loads(line)["text"] for line in TEXT.read_text(encoding="utf-8").split("\n")[:12]]
        self.items = [{"texts": [text[:60 + 20 * number], text[:30] + text[90:140], text[200:240]], "gold": number % 3,
                       "group": str(number // 4)} for number, text in enumerate(texts)]
        self.arguments = ["--data", TEXT, "--limit", 9, "--length", 80, "--tasks", self.task("own", "ppl", self.items)]

    def assert_same(self, expected, *arguments, **options):
        name = "-".join(str(argument).strip("-") for argument in ("of", *arguments, *options.values()))
        found = report_bytes(self.report(*self.arguments, "--scales", self.right_scales, *arguments, name=name,
                                         **options))
        self.assertEqual(set(found), set(expected))
        for file, content in expected.items():
            self.assertEqual(found[file], content, f"{file} of {name}")

    def test_ranks_micro_batches_and_groups(self):
        """The same bytes of all files, also of a second run."""
        expected = report_bytes(self.report(*self.arguments, "--scales", self.right_scales))
        self.assertEqual(set(expected), {"evaluation.json", "evaluation.md", "items.jsonl"})
        self.assert_same(expected)
        self.assert_same(expected, OMP_NUM_THREADS="2")
        for devices in ("cpu:2", "cpu:4"):
            self.assert_same(expected, devices=devices)
        for option in (("--micro-batch", 64), ("--micro-batch", 1000), ("--group", 600)):
            self.assert_same(expected, *option)
        self.assert_same(expected, "--micro-batch", 100, "--group", 300, devices="cpu:2")

    def test_more_ranks_than_texts(self):
        np.save(self.folder / "ids.npy", own_ids(1, 32))
        self.arguments = ["--data", self.folder / "ids.npy"]
        expected = report_bytes(self.report(*self.arguments, "--scales", self.right_scales))
        self.assert_same(expected, devices="cpu:4")

    def test_other_streams(self):
        """A stream's numbers are its own, whatever runs beside it and in which order."""
        one, other = self.right("one"), self.spoilt(lambda scales: scales.__imul__(np.float32(1.5)), "other")
        both = read_report(self.report(*self.arguments, *streams_of(one, other), name="both"))
        turned = read_report(self.report(*self.arguments, *streams_of(other, one), name="turned"))
        alone = read_report(self.report(*self.arguments, *streams_of(one), name="alone"))

        def own(report: dict, name: str) -> list:
            stream, layers = named(report["streams"], name), named(report["layers"], name)
            kld = {key: value for key, value in stream["kld"].items() if "second_stream" not in key}
            tasks = [named(task["streams"], name) for task in report["tasks"]]
            parts = [stream | {"kld": kld}, layers, *tasks]
            return [{key: value for key, value in part.items() if key not in ("name", "description")} for part in parts]

        self.assertNotEqual(own(both, "one"), own(both, "other"))
        for name in ("one", "other"):
            self.assertEqual(own(both, name), own(turned, name))
        self.assertEqual(own(both, "one"), own(alone, "int8"))
        self.assertEqual(named(both["streams"], "fp16"), named(turned["streams"], "fp16"))

    def test_scales_of_statistics(self):
        """Those that a calibration wrote and those that are made of its statistics are the same."""
        from_files = read_report(self.report(*self.arguments, "--scales", self.right_scales, name="files"))
        made = read_report(self.report(*self.arguments, "--stats", self.right_scales / "kv_stats.safetensors",
                                       name="made"))
        for report in (from_files, made):
            report["streams"][1].pop("description")
        self.assertEqual(from_files, made)

    def test_scales_beside_the_weights(self):
        weights = self.tiny()
        for file in self.right_scales.glob("layers.*.weight"):
            (weights / file.name).write_bytes(file.read_bytes())
        named_ones = read_report(self.report(*self.arguments, "--scales", self.right_scales, name="named"))
        beside = read_report(self.report(*self.arguments, weights=weights, name="beside"))
        for report in (named_ones, beside):
            report["streams"][1].pop("description")
        self.assertEqual(named_ones, beside)

    def test_limit(self):
        """The items and windows that a limit leaves come out as they do in the whole run."""
        whole = self.report(*self.arguments, "--scales", self.right_scales, name="whole")
        self.arguments[3] = 5
        part = self.report(*self.arguments, "--scales", self.right_scales, name="part")
        lines = (whole / "items.jsonl").read_text().splitlines()
        self.assertEqual(len(lines), 9)
        self.assertEqual((part / "items.jsonl").read_text().splitlines(), lines[:5])
        self.assertEqual(read_report(part)["tasks"][0]["n"], 5)
        self.assertEqual([read_report(each)["text"]["windows"] for each in (whole, part)], [9, 5])

    def test_items_alone(self):
        """What stands in an item's tree beside it changes nothing: groups share beginnings."""
        together = self.report("--tasks", self.arguments[-1], "--scales", self.right_scales, name="together")
        for item in self.items:
            item["group"] = None
        alone = self.report("--tasks", self.task("own", "ppl", self.items), "--scales", self.right_scales, name="alone")
        for one, other in zip(*((each / "items.jsonl").read_text().splitlines() for each in (together, alone))):
            self.assertEqual(one, other)

    def test_identity(self):
        """Control and fp16 are zeros, and both are said."""
        run = self.evaluate(*self.arguments, "--scales", self.right_scales, "--output", self.folder / "report")
        self.assertIn("control: a stream that changes nothing gives zeros everywhere, to the bit", run.out)
        report = read_report(self.folder / "report")
        self.assertIs(report["control_is_zero"], True)
        fp16, int8 = report["streams"]
        for name in ("mean", "max", "min", "reverse_mean"):
            self.assertEqual(fp16["kld"][name], 0)
            self.assertGreater(int8["kld"][name], 0)
        self.assertEqual((fp16["ppl_ratio"], fp16["same_top_p"], fp16["ln_ratio"]), (1, 100, 0))


if __name__ == "__main__":
    unittest.main()
