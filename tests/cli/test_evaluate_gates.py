# SPDX-License-Identifier: Apache-2.0
"""Exit codes of `kvcalib evaluate` for CI, the report that is printed and written all the same, and its JSON."""

import json
import unittest

from evaluation import TEXT, EvaluationTest, named, read_items, read_report, report_bytes, streams_of

STREAM_KEYS = {"name", "ppl", "ppl_ratio", "kld", "same_top_p", "clipped"}
KLD_KEYS = {"mean", "mean_error", "median", "p99", "max"}
TASK_KEYS = {"task", "dataset", "metric", "n", "baseline", "streams"}
SCORE_KEYS = {"name", "score", "diff", "error", "lost", "gained", "p"}


class Gates(EvaluationTest):
    DATA = ("--data", TEXT, "--limit", 8, "--length", 48)

    def choices(self) -> list:
        """Forty items between texts of random ids, so that scales that are far off change some choices."""
        import random
        random.seed(1)
        return [{"ids": [[1, *random.choices(range(300, 2000), k=12)] for _ in range(4)], "gold": 0}
                for _ in range(40)]

    def lossy(self):
        """A task, its gold the choices under fp16, so that every change is a loss; and scales that change some."""
        items, spoilt = self.choices(), self.spoilt(lambda scales: scales.__imul__(40), "coarse")
        lines = read_items(self.report("--tasks", self.task("own", "ppl", items), *streams_of(spoilt), name="first"))
        for item, line in zip(items, lines):
            item["gold"] = line["choice"]["fp16"]
        return self.task("own", "ppl", items), spoilt

    def test_divergence(self):
        spoilt = self.spoilt(lambda scales: scales.__imul__(6), "coarse")
        ungated = read_report(self.report(*self.DATA, *streams_of(spoilt)))
        mean = ungated["streams"][1]["kld"]["mean"]
        self.assertIsNone(ungated["gates"])
        kept = self.evaluate(*self.DATA, *streams_of(spoilt), "--max-kl", 1.01 * mean)
        self.assertEqual((kept.code, kept.err), (0, ""))
        for arguments in ((), ("--json",)):
            output = self.folder / f"failed-{len(arguments)}"
            run = self.evaluate(*self.DATA, *streams_of(spoilt), "--max-kl", 0.99 * mean, "--output", output,
                                *arguments)
            self.assertEqual(run.code, 1)
            self.assertRegex(run.err, r"^gate: --max-kl [0-9.e-]+: the mean KLD of int8 is [0-9.e-]+\n$")
            self.assertEqual(set(report_bytes(output)), {"evaluation.json", "evaluation.md"})
            sentence = run.err.removeprefix("gate: ").strip()
            self.assertEqual(read_report(output)["gates"], {"kept": False, "failed": [sentence]})
            self.assertIn(f"**Gate not kept**: {sentence}", (output / "evaluation.md").read_text(encoding="utf-8"))
            if arguments:
                self.assertEqual(self.parse_json(run.out), read_report(output))
            else:
                self.assertEqual(run.out, kept.out)

    def test_divergence_of_the_stream_that_has_it(self):
        directories = (self.right("right-ones"), self.spoilt(lambda scales: scales.__imul__(6), "coarse"))
        run = self.evaluate(*self.DATA, *streams_of(*directories), "--max-kl", 1.5e-3)
        self.assertEqual(run.code, 1)
        self.assertIn("the mean KLD of coarse is ", run.err)
        self.assertNotIn("right-ones", run.err)

    def test_other_formats_are_compared_only(self):
        statistics = self.right_scales / "kv_stats.safetensors"
        report = read_report(self.report(*self.DATA, "--stats", statistics, "--formats", "fp8"))
        int8, fp8 = (stream["kld"]["mean"] for stream in report["streams"][1:])
        self.assertGreater(fp8, int8)
        run = self.evaluate(*self.DATA, "--stats", statistics, "--formats", "fp8", "--max-kl", (int8 + fp8) / 2)
        self.assertEqual(run.code, 0, run.err)

    def test_loss(self):
        task, spoilt = self.lossy()
        output = self.report("--tasks", task, *streams_of(spoilt))
        found, = read_report(output)["tasks"]
        fp16, int8 = found["streams"]
        self.assertEqual((fp16["score"], found["n"]), (100, 40))
        lost = -int8["diff"]
        self.assertGreater(lost, 5)
        self.assertEqual((int8["lost"], int8["gained"]), (round(lost * 40 / 100), 0))
        self.assertAlmostEqual(int8["p"], 2.0 ** (1 - int8["lost"]))
        self.assertEqual(self.evaluate("--tasks", task, *streams_of(spoilt), "--max-loss", f"own={lost + 0.1}").code, 0)
        run = self.evaluate("--tasks", task, *streams_of(spoilt), "--max-loss", f"own={lost - 0.1}", "--json",
                            "--output", output, "--force")
        self.assertEqual(run.code, 1)
        self.assertRegex(run.err, r"^gate: --max-loss own=[0-9.]+: int8 loses [0-9.]+ points\n$")
        self.assertEqual(self.parse_json(run.out)["tasks"], [found])
        both = self.evaluate(*self.DATA, "--tasks", task, *streams_of(spoilt), "--max-loss", "own=0", "--max-kl", 0)
        self.assertEqual((both.code, both.err.count("gate: ")), (1, 2), both.err)

    def test_a_gate_on_what_is_not_scored(self):
        task = self.task("own", "ppl", self.choices()[:1])
        run = self.evaluate("--tasks", task, *streams_of(self.right_scales), "--max-kl", 1)
        self.assert_refused(run, 2, "--max-kl", "--copy")

    def test_json(self):
        items = self.choices()[:3]
        tasks = [self.task("one", "ppl", items), self.task("two", "ppl/(n-1)", items)]
        statistics = self.right_scales / "kv_stats.safetensors"
        run = self.evaluate(*self.DATA, "--tasks", tasks[0], "--tasks", tasks[1], "--stats", statistics, "--formats",
                            "per-token,per-channel,per-head", "--json")
        self.assertEqual((run.code, run.err), (0, ""))
        report = self.parse_json(run.out)
        names = ["fp16", "int8", "per-token", "per-channel", "per-head"]
        self.assertEqual([stream["name"] for stream in report["streams"]], names)
        for stream in report["streams"]:
            self.assertLessEqual(STREAM_KEYS, set(stream))
            self.assertLessEqual(KLD_KEYS, set(stream["kld"]))
        self.assertEqual([task["task"] for task in report["tasks"]], ["one", "two"])
        for task in report["tasks"]:
            self.assertLessEqual(TASK_KEYS, set(task))
            self.assertEqual([stream["name"] for stream in task["streams"]], names)
            for stream in task["streams"]:
                self.assertLessEqual(SCORE_KEYS, set(stream))
        self.assertEqual(named(report["tasks"], "two", "task")["n"], 3)
        self.assertEqual(len(report["verdict"]), 4)
        self.assertNotIn("NaN", run.out)
        self.assertEqual(json.loads(run.out, parse_constant=self.fail), report)


if __name__ == "__main__":
    unittest.main()
