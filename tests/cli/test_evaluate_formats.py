# SPDX-License-Identifier: Apache-2.0
"""Other formats of the cache as streams of `kvcalib evaluate`: what each costs beside the runtime's."""

import unittest

import numpy as np

from evaluation import TEXT, EvaluationTest, named, own_ids, read_report, streams_of
from program import TINY


class Formats(EvaluationTest):
    DATA = ("--data", TEXT, "--limit", 8, "--length", 64)

    def test_what_formats_cost(self):
        np.save(self.folder / "ids.npy", own_ids(8, 96))  # whose own ranges they are: nothing much is clipped
        statistics = self.calibrate(TINY / "weights", self.folder / "ids.npy") / "kv_stats.safetensors"
        report = read_report(self.report("--data", self.folder / "ids.npy", "--stats", statistics, "--formats",
                                         "per-head,per-channel,per-token,fp8"))
        streams = {stream["name"]: stream for stream in report["streams"]}
        kld = {name: stream["kld"]["mean"] for name, stream in streams.items()}
        self.assertLess(kld["per-channel"], kld["int8"])
        self.assertLess(kld["per-token"], kld["int8"])
        self.assertEqual(kld["per-head"], kld["int8"])  # each of the two ranks has one head
        self.assertGreater(kld["fp8"], 2 * kld["int8"])  # 3 bits of mantissa
        self.assertGreater(kld["per-channel"], 0)
        self.assertGreater(kld["per-token"], 0)
        self.assertEqual([name for name, stream in streams.items() if stream["compared_only"]],
                         ["per-head", "per-channel", "per-token", "fp8"])
        self.assertEqual(streams["per-token"]["clipped"], 0)
        for name in ("int8", "per-channel", "per-token"):
            self.assertEqual(named(report["layers"], name)["findings"], [], name)

    def test_methods(self):
        """Zeros that are 0 cost more; a release that holds none takes no others."""
        statistics = ("--stats", self.right_scales / "kv_stats.safetensors", "--session-len", 1)
        reports = [read_report(self.report(*self.DATA, *statistics, *more, name=f"of-{number}")) for number, more in
                   enumerate(((), ("--method", "symmetric"), ("--runtime", "0.0.3")))]
        asymmetric, symmetric, early = (report["streams"][1] for report in reports)
        self.assertGreater(symmetric["kld"]["mean"], asymmetric["kld"]["mean"])
        self.assertIn("int8 asymmetric", asymmetric["description"])
        self.assertIn("int8 symmetric", symmetric["description"])
        self.assertIn("int8 symmetric", early["description"])
        both = read_report(self.report(*self.DATA, *statistics, "--method", "asymmetric", "--method", "symmetric",
                                       name="both"))["streams"]
        self.assertEqual([stream["name"] for stream in both], ["fp16", "int8 asymmetric", "int8 symmetric"])
        for together, alone in zip(both[1:], (asymmetric, symmetric)):
            self.assertEqual((together["kld"]["mean"], together["ppl"]), (alone["kld"]["mean"], alone["ppl"]))

    def test_are_made_of_statistics(self):
        run = self.evaluate(*self.DATA, *streams_of(self.right_scales), "--formats", "per-channel")
        self.assert_refused(run, 2, "--formats per-channel", "--stats FILE")
        run = self.evaluate(*self.DATA, "--formats", "per-chanel")
        self.assert_refused(run, 2, "--formats per-chanel", "per-channel")

    def test_those_of_a_token_need_none(self):
        report = read_report(self.report(*self.DATA, "--formats", "per-token"))
        self.assertEqual([stream["name"] for stream in report["streams"]], ["fp16", "per-token"])
        self.assertGreater(report["streams"][1]["kld"]["mean"], 0)


if __name__ == "__main__":
    unittest.main()
