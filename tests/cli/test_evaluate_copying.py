# SPDX-License-Identifier: Apache-2.0
"""`kvcalib evaluate --copy`: random tokens again, as far as a model can copy them, show what text hides."""

import json
import shutil
import unittest

import numpy as np

from evaluation import EvaluationTest, named, read_report, scale_file, streams_of
from program import SHARED, TINY


class Copying(EvaluationTest):
    def test_a_model_that_cannot_copy(self):
        """It says so, and nothing of it counts."""
        arguments = ("--copy", "--length", 51, *streams_of(self.right_scales))
        run = self.evaluate(*arguments, "--output", self.folder / "report")
        self.assertEqual(run.code, 0, run.err)
        self.assertIn("this model cannot copy over 16 tokens", run.out)
        self.assertIn("copying: this model cannot copy", run.out)
        report = read_report(self.folder / "report")
        copy, = report["copy"]  # 64 tokens twice do not fit
        self.assertEqual((copy["distance"], copy["cannot_copy"], copy["tokens"]), (16, True, 4096))
        self.assertEqual(copy["windows"], 256)
        fp16, int8 = copy["streams"]
        self.assertEqual((fp16["kld"], fp16["change"], fp16["same_top_p"]), (0, 0, 100))
        self.assertGreater(int8["kld"], 0)
        recall, = report["recall"]
        self.assertEqual((recall["n"], sum(recall["gold_labels"])), (64, 64))
        self.assertLess(recall["streams"][0]["score"], 30)
        self.assertIsNone(report["text"])
        self.assertEqual(report["tasks"], [])

    def test_texts_begin_as_tokenizer_or_model_says(self):
        arguments = ("--copy", "--length", 51, "--limit", 4)
        scales = streams_of(self.right_scales)
        with_tokenizer = read_report(self.report(*arguments, *scales, name="with-tokenizer"))["copy"]
        bare = self.folder / "bare" / "weights"  # the tokenizer is beside, not in the weights
        shutil.copytree(TINY / "weights", bare)
        config = (bare / "config.ini").read_text()
        self.assertIn("start_id = 1\n", config)

        def copying(start: str) -> tuple[list, list[str]]:
            (bare / "config.ini").write_text(config.replace("start_id = 1\n", start))
            run = self.evaluate(*arguments, *scales, "--json", weights=bare)
            self.assertEqual(run.code, 0, run.err)
            report = json.loads(run.out)
            return report["copy"], [note for note in report["notes"] if note.startswith("random texts begin")]
        stated, said = copying("start_id = 1\n")
        self.assertEqual(stated, with_tokenizer)
        self.assertEqual(said, [])
        self.assertNotEqual(copying("start_id = 7\n")[0], with_tokenizer)
        for unstated in ("", "start_id = -1\n", "start_id = 2048\n"):
            usual, said = copying(unstated)
            self.assertEqual(usual, with_tokenizer)
            self.assertIn("token 1,", *said)

    def test_too_short_to_copy(self):
        self.assert_refused(self.evaluate("--copy", "--length", 32, *streams_of(self.right_scales)), 1, "--copy",
                            "--length")

    def test_steps_four_times_too_large(self):
        """In a model that copies: the right scales change little, the spoilt ones lose more than noise explains."""
        source = SHARED / "models/llama-96m"
        if not source.exists():
            self.skipTest(f"{source} is not there")
        data = self.folder / "data.jsonl"
        with open(SHARED / "text/prose_valid.jsonl", encoding="utf-8") as file:
            data.write_text("".join(next(file) for _ in range(20)), encoding="utf-8")
        right = self.calibrate(source, data, "--samples", 2, "--length", 256, "--pack", name="right-ones")
        coarse = self.folder / "coarse"
        coarse.mkdir()
        for layer in range(8):
            scales = np.fromfile(scale_file(right, layer, 0), "<f4")
            (scales * np.float32([4, 1, 4, 1])).tofile(scale_file(coarse, layer, 0))
        report = read_report(self.report("--copy", "--length", 33, "--limit", 64, *streams_of(right, coarse), "--max-kl", 0.004,
                                         weights=source, code=1))
        copy, = report["copy"]
        self.assertFalse(copy["cannot_copy"])
        fp16, fine, spoilt = copy["streams"]
        self.assertLess(fp16["surprise"], 6)  # of ln 12288 = 9.4
        self.assertLess(fine["kld"], 0.002)
        self.assertGreater(spoilt["kld"], 8 * fine["kld"])
        self.assertGreater(spoilt["change"], 2.5 * spoilt["change_error"])
        self.assertGreater(spoilt["change"], 5 * abs(fine["change"]))
        sentence, = [each for each in report["verdict"] if each.startswith("coarse: ")]
        self.assertIn("copying: worse than noise explains", sentence)
        self.assertIn("only", "\n".join(named(report["layers"], "coarse")["findings"]))


if __name__ == "__main__":
    unittest.main()
