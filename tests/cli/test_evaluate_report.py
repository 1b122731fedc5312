# SPDX-License-Identifier: Apache-2.0
"""`kvcalib evaluate --tasks REPORT --data-root DIR`: all rows of a report in its order, those that are missing told."""

import json
import re
import unittest
from pathlib import Path

from evaluation import EvaluationTest, own_text, read_items, read_report, report_bytes
from program import ROOT, Run, digests

ROWS = ("three", "gone", "one", "answers", "lost", "two")
MISSING = ("gone", "lost")


class Report(EvaluationTest):
    def setUp(self):
        super().setUp()
        self.output = self.folder / "report"
        self.root = self.folder / "made"
        self.root.mkdir()
        for name in ("one", "two", "three"):
            self.put(name, "ppl", [{"texts": [own_text(number)[:60 + number], own_text(number)[60:130]], "gold": 0}
                                   for number in range(len(name))])
        self.put("answers", "gen", [{"prompt": own_text(0)[:50], "answers": ["the"]}], extract="contains",
                 max_new_tokens=4)
        self.list = self.save({"rows": [self.row(name) for name in ROWS]})

    def put(self, name: str, *arguments, **header) -> Path:
        return self.task(name, *arguments, **header).rename(self.root / f"{name}.jsonl")

    def row(self, name: str, **more) -> dict:
        return {"task": name, "dataset": "own", "file": f"{name}.jsonl"} | more

    def save(self, content: dict, name: str = "list.json") -> Path:
        file = self.folder / name
        file.write_text(json.dumps({"format": "kvcalib-report", "version": 1} | content, indent=1), encoding="utf-8")
        return file

    def run_list(self, *arguments, **options) -> Run:
        return self.evaluate("--tasks", self.list, "--data-root", self.root, "--scales", self.right_scales, *arguments,
                             **options)

    def refuse(self, code: int, *words: str, arguments=()):
        before = digests(self.folder)
        run = self.evaluate(*arguments, "--scales", self.right_scales, "--output", self.output)
        self.assert_refused(run, code, *words)
        self.assertEqual(digests(self.folder), before)

    def first_words(self, text: str) -> list[str]:
        """What begins the rows of the table of tasks."""
        rows = text.partition("\nTasks\n")[2].partition("\nconst:")[0].splitlines()[1:]
        return [row.split()[0] for row in rows]

    def test_rows_stand_in_the_order_of_the_report(self):
        run = self.run_list("--output", self.output)
        self.assertEqual(run.code, 0, run.err)
        self.assertEqual(self.first_words(run.out), list(ROWS))
        self.assertRegex(run.out, r"\ngone +own +gone\.jsonl is missing\n")
        report = read_report(self.output)
        self.assertEqual([(row["task"], row["missing"]) for row in report["report"]["rows"]],
                         [(name, name in MISSING) for name in ROWS])
        self.assertEqual([task["task"] for task in report["tasks"]], [name for name in ROWS if name not in MISSING])
        self.assertEqual([file["file"] for file in report["data"]],
                         ["list.json"] + [f"{name}.jsonl" for name in ROWS if name not in MISSING])
        mean, = report["report"]["mean_differences"]
        self.assertEqual(mean["rows"], 4)
        self.assertAlmostEqual(mean["diff"], sum(task["streams"][1]["diff"] for task in report["tasks"]) / 4)
        markdown = (self.output / "evaluation.md").read_text(encoding="utf-8")
        self.assertEqual(re.findall(r"^\| (\w+) \| own \|", markdown, re.M), list(ROWS))
        self.assertIn("| lost | own | lost.jsonl is missing |", markdown)
        self.assertIn("mean difference of 4 of 6 rows", markdown)

    def test_gives_what_the_files_give(self):
        self.assertEqual(self.run_list("--output", self.output, "--limit", 2).code, 0)
        single = self.report("--tasks", *(self.root / f"{name}.jsonl" for name in ROWS if name not in MISSING),
                             "--scales", self.right_scales, "--limit", 2, name="single")
        self.assertEqual(read_items(self.output), read_items(single))
        self.assertEqual(read_report(self.output)["tasks"], read_report(single)["tasks"])
        self.assertEqual({task["n"] for task in read_report(single)["tasks"]}, {1, 2})
        self.assertIsNone(read_report(single)["report"])

    def test_stands_among_other_tasks(self):
        other = self.task("other", "ppl", [{"texts": ["It was.", "It was not."], "gold": 0}])
        last = self.task("last", "ppl", [{"texts": ["It was.", "It was not."], "gold": 0}])
        run = self.evaluate("--tasks", other, self.list, last, "--data-root", self.root, "--scales", self.right_scales)
        self.assertEqual(run.code, 0, run.err)
        self.assertEqual(self.first_words(run.out), ["other", *ROWS, "last"])

    def test_does_not_depend_on_ranks_and_groups(self):
        self.assertEqual(self.run_list("--output", self.output).code, 0)
        run = self.run_list("--output", self.folder / "other", "--group", 60, devices="cpu:2")
        self.assertEqual(run.code, 0, run.err)
        self.assertEqual(report_bytes(self.output), report_bytes(self.folder / "other"))

    def test_gates(self):
        self.assertEqual(self.run_list("--max-loss", "one=100").code, 0)
        self.assert_refused(self.run_list("--max-loss", "gone=1"), 1, "--max-loss gone=", "gone.jsonl",
                            f"--data-root {self.root}")
        self.assert_refused(self.run_list("--max-loss", "never=1"), 2, "--max-loss never=")

    def test_none_of_the_files_is_there(self):
        empty = self.folder / "empty"
        empty.mkdir()
        self.refuse(1, f"--data-root {empty}", "none of the 6 task files", "make_tasks.py",
                    arguments=("--tasks", self.list, "--data-root", empty))
        self.refuse(1, f"--data-root {self.folder / 'no'}", "not a directory",
                    arguments=("--tasks", self.list, "--data-root", self.folder / "no"))

    def test_options_that_do_not_fit(self):
        self.refuse(2, str(self.list), "is a report", "--data-root DIR", arguments=("--tasks", self.list))
        self.refuse(2, f"--data-root {self.root}", "configs/tasks/report.json",
                    arguments=("--tasks", self.root / "one.jsonl", "--data-root", self.root))
        self.refuse(2, "--data-root", "--tasks REPORT", arguments=("--copy", "--data-root", self.root))
        self.refuse(2, "--data-root ''", arguments=("--tasks", self.list, "--data-root", ""))
        again = self.save({"rows": [self.row("one")]}, "again.json")
        self.refuse(2, str(self.list), str(again), "give one of them",
                    arguments=("--tasks", self.list, again, "--data-root", self.root))
        self.refuse(2, "two files are of the task one", arguments=(
            "--tasks", self.list, self.root / "one.jsonl", "--data-root", self.root))

    def test_a_file_of_another_task(self):
        (self.root / "gone.jsonl").write_bytes((self.root / "one.jsonl").read_bytes())
        self.refuse(1, str(self.root / "gone.jsonl"), "the task 'one'", "'gone'",
                    arguments=("--tasks", self.list, "--data-root", self.root))

    def test_a_place_that_holds_no_file(self):
        (self.root / "gone.jsonl").mkdir()
        self.refuse(1, str(self.root / "gone.jsonl"), "is a directory",
                    arguments=("--tasks", self.list, "--data-root", self.root))

    def test_a_damaged_report(self):
        one = self.row("one")
        for content, words in (({"rows": []}, ("rows is empty",)), ({"rows": [one], "rule": 1}, ("'rule'", "unknown")),
                               ({"rows": [one], "version": 2}, ("version is 2",)),
                               ({"rows": [one, one]}, ("entry 2", "task is 'one'", "entry 1")),
                               ({"rows": [one | {"n": 1}]}, ("entry 1", "'n'", "unknown")),
                               ({"rows": [one | {"file": 3}]}, ("entry 1", "file = 3", "string")),
                               ({"rows": [one | {"file": "../one.jsonl"}]}, ("entry 1", "file is '../one.jsonl'")),
                               ({"rows": [one | {"file": str(self.root / "one.jsonl")}]}, ("entry 1", "--data-root")),
                               ({"rows": {}}, ("rows = {}", "list of objects"))):
            with self.subTest(words=words):
                file = self.save(content)
                self.refuse(1, str(file), *words, arguments=("--tasks", file, "--data-root", self.root))
        file.write_text(file.read_text()[:-3])
        self.refuse(1, str(file), "JSON", arguments=("--tasks", file, "--data-root", self.root))

    def test_the_list_that_is_distributed(self):
        rows = json.loads((ROOT / "configs/tasks/report.json").read_text(encoding="utf-8"))["rows"]
        for row in rows:
            config = json.loads((ROOT / f"configs/tasks/{row['task']}.json").read_text(encoding="utf-8"))
            self.assertEqual(row, {name: config[name] for name in ("task", "dataset", "follows")}
                             | {"file": f"{row['task']}.jsonl"})
            self.assertEqual(config["task"], row["task"])
        self.assertEqual(" ".join(row["task"] for row in rows), (
            "ceval ceval-hard CMRC_dev DRCD_dev afqmc-dev bustm-dev bustm-test chid-dev chid-test cluewsc-dev "
            "cluewsc-test eprstmt-dev eprstmt-test lambada story_cloze AX_b AX_g RTE BoolQ CB COPA MultiRC ReCoRD WiC "
            "WSC race-middle race-high gsm8k_main hellaswag piqa winogrande openbookqa openbookqa_fact nq triviaqa "
            "crows_pairs"))
        beside = {file.stem for file in (ROOT / "configs/tasks").glob("*.json")} - {row["task"] for row in rows}
        self.assertEqual(beside, {"report", "winogrande-ll", "passkey"})


if __name__ == "__main__":
    unittest.main()
