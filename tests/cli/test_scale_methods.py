# SPDX-License-Identifier: Apache-2.0
"""Methods of histograms: what they make of statistics, compared with their formulas, and where they are refused."""

import shutil
import unittest

import numpy as np

from program import TINY, ProgramTest, kvcalib, scales, statistics
from reference import calibration, scale_methods
from reference.models import random_model

METHODS = [("percentile:p=99.9", 99.9), ("percentile:p=99.999", 99.999), ("mse", 0), ("entropy", 0),
           ("importance:margin=1.05", 1.05), ("importance:margin=1", 1), ("sinks-apart:tokens=1", 1),
           ("sinks-apart:tokens=4", 4)]
PLANES = {f"{tensor}.{name}" for tensor in ("key", "value") for name in ("counts", "importance", "extremes")}


class ScaleMethods(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test = cls()
        test.setUp()
        cls.addClassCleanup(shutil.rmtree, test.folder, ignore_errors=True)
        cls.gathered = test.calibrate(TINY / "weights", TINY / "text.jsonl", "--samples", 6, "--length", 256,
                                      "--histograms")

    def export(self, name, *arguments, stats=None, weights=TINY / "weights"):
        self.succeed("export", "--stats", (stats or self.gathered) / "kv_stats.safetensors", "--weights", weights,
                     "--output", self.folder / name, *arguments)
        return self.folder / name

    def test_scales_are_what_the_formulas_make_of_the_statistics(self):
        model = random_model(9, layers=1, heads=8, intermediate=512)
        several = self.write(model)  # several heads a rank
        gathered = self.calibrate(several, self.windows(9, count=3, length=80, vocab=model.vocab), "--histograms")
        for weights, stats, ranks in ((TINY / "weights", self.gathered, 2), (several, gathered, 1),
                                      (several, gathered, 4)):
            length = self.parse_json((stats / "summary.json").read_text())["length"]
            for session in (length, 2056):
                config = calibration.Config.read(weights)
                tensors = calibration.served_ranges(statistics(stats), config, "0.3.0", length, session)
                for text, parameter in METHODS:
                    with self.subTest(method=text, ranks=ranks, weights=weights, session=session):
                        output = self.export(f"{text}-of-{ranks}-{session}", "--method", text, "--serving-tp", ranks,
                                             "--session-len", session, stats=stats, weights=weights)
                        expected = scale_methods.scale_files(tensors, ranks, text.split(":")[0], parameter)
                        self.assertEqual(scales(output), expected)

    def test_a_calibration_by_the_method_is_an_export_by_it(self):
        for text in ("importance", "sinks-apart:tokens=2"):
            with self.subTest(method=text):
                calibrated = self.calibrate(TINY / "weights", TINY / "text.jsonl", "--samples", 6, "--length", 256,
                                            "--method", text, name=f"calibrated-{text}")
                self.assert_same_statistics(calibrated, self.gathered)
                exported = self.export(f"exported-{text}", "--method", text)
                self.assertEqual(scales(calibrated), scales(exported))
                self.assertTrue(scales(exported))

    def test_histograms_change_nothing_else(self):
        plain = self.calibrate(TINY / "weights", TINY / "text.jsonl", "--samples", 6, "--length", 256, name="plain")
        self.assertEqual(scales(plain), scales(self.gathered))
        before, with_them = statistics(plain), statistics(self.gathered)
        self.assertEqual(set(with_them) - set(before), PLANES)
        for name, tensor in before.items():
            np.testing.assert_array_equal(tensor, with_them[name], name)

    def test_verify_explains_the_scales(self):
        for text, _ in METHODS:
            with self.subTest(method=text):
                weights = self.tiny(f"workspace-{text}")
                self.succeed("export", "--stats", self.gathered / "kv_stats.safetensors", "--weights", weights,
                             "--in-place", "--method", text)
                self.succeed("verify", weights)
                if text != "mse":
                    continue
                summary = weights / "summary.json"
                summary.write_text(summary.read_text().replace('"method": "mse"', '"method": "asymmetric"'))
                run = kvcalib("verify", weights)
                self.assertEqual(run.code, 1)
                self.assertIn("summary.json: names the method asymmetric, but the scale files are mse", run.out)

    def test_what_is_clipped_of_importance_is_told(self):
        run = self.succeed("export", "--stats", self.gathered / "kv_stats.safetensors", "--weights", TINY / "weights",
                           "--output", self.folder / "clipped", "--method", "percentile:p=90")
        self.assertIn("--method percentile:p=90: clips values of K that attention reads", run.err)
        summary = self.parse_json((self.folder / "clipped/summary.json").read_text())
        self.assertEqual(len([line for line in summary["warnings"] if "clips values" in line]), 2)
        quiet = self.succeed("export", "--stats", self.gathered / "kv_stats.safetensors", "--weights",
                             TINY / "weights", "--output", self.folder / "kept", "--method", "importance")
        self.assertNotIn("clips", quiet.err)


class Refusals(ProgramTest):
    def refused(self, code, *arguments):
        run = kvcalib(*arguments)
        self.assertEqual(run.code, code, run.text)
        return run.err

    def test_statistics_without_histograms(self):
        output = self.calibrated()
        for text in ("percentile", "mse", "entropy", "importance", "sinks-apart"):
            with self.subTest(method=text):
                stats = output / "kv_stats.safetensors"
                message = self.refused(1, "export", "--stats", stats, "--weights", TINY / "weights", "--output",
                                       self.folder / "new", "--method", text)
                self.assertIn(f"{stats}: has no histograms (tensors 'key.counts' and on), of which --method {text}",
                              message)
                self.assertIn("calibrate with --histograms", message)
                self.assertFalse((self.folder / "new").exists())
        message = self.refused(1, "evaluate", "--weights", TINY / "weights", "--stats", stats, "--method", "mse",
                               "--data", TINY / "text.jsonl", "--length", 64, "--limit", 1, "--devices", "cpu")
        self.assertIn("has no histograms", message)

    def test_releases_without_zero_points(self):
        message = self.refused(1, "calibrate", "--weights", TINY / "weights", "--data", self.windows(1), "--output",
                               self.folder / "new", "--runtime", "0.0.3", "--method", "importance", "--devices", "cpu")
        self.assertIn("--method importance:margin=1.05: TurboMind v0.0.3 holds no zero points", message)

    def test_parameters(self):
        for text, words in (("sinks-apart:tokens=9", "tokens is 9, expected a whole number from 1 to 8"),
                            ("percentile:p=49", "p is 49, expected 50 to 100"),
                            ("mse:margin=2", "it has no parameter 'margin', expected mse")):
            self.assertIn(words, self.refused(2, "calibrate", "--weights", TINY / "weights", "--data", "x.npy",
                                              "--output", self.folder / "new", "--method", text))


if __name__ == "__main__":
    unittest.main()
