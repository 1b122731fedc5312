# SPDX-License-Identifier: Apache-2.0
"""scripts/make_tasks.py: what it makes and leaves out, what it says of bad data, ids in place of text, public data."""

import json
import subprocess
import sys
import unittest
from pathlib import Path

from program import SHARED
from task_maker import SCRIPT, TaskTest, jsonl

try:
    import tokenizers
except ImportError:
    tokenizers = None

EVAL = SHARED / "eval"
# How many items the data sets have that published results are of.
COUNTS = {"afqmc-dev": 4316, "bustm-dev": 160, "bustm-test": 1772, "chid-dev": 202, "chid-test": 2002,
          "cluewsc-dev": 159, "cluewsc-test": 976, "eprstmt-dev": 160, "eprstmt-test": 610, "AX_b": 1104, "AX_g": 356,
          "RTE": 277, "BoolQ": 3270, "CB": 56, "COPA": 100, "MultiRC": 4848, "WiC": 638, "WSC": 104, "piqa": 1838,
          "winogrande": 1267, "winogrande-ll": 1267, "openbookqa": 500, "crows_pairs": 1508,
          "CMRC_dev": 3219, "DRCD_dev": 3524, "lambada": 5153, "gsm8k_main": 1319, "nq": 3610,
          "passkey": 100}
PARTS = {"triviaqa": 3000}  # of which there is a part
# The share of the items, in percent, that the commonest gold choice is right for.
COMMONEST = {"afqmc-dev": 69.0, "WSC": 63.5, "BoolQ": 62.2, "AX_b": 58.3, "MultiRC": 57.2, "RTE": 52.7,
             "eprstmt-dev": 53.8, "bustm-test": 50, "WiC": 50, "AX_g": 50, "crows_pairs": 100}


class MakeTasks(TaskTest):
    def test_what_is_there_is_made_and_what_is_not_is_listed(self):
        self.assert_refused(1, "none of the data sets is there")
        self.save("RTE/val.jsonl", jsonl(*[{"premise": "A", "hypothesis": str(i), "label": "entailment"}
                                          for i in range(5)]))
        run = self.run_script("--limit", 3)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("RTE: 3 items, 6 texts", run.stdout)
        self.assertIn("hellaswag: left out: hellaswag/hellaswag_val.jsonl is not there", run.stdout)
        self.assertIn("passkey: 3 items, 30 texts", run.stdout)
        self.assertEqual({file.name for file in self.output.iterdir()}, {"RTE.jsonl", "passkey.jsonl"})
        self.assertIn("published results are of 277", self.run_script("--force").stdout)
        self.assert_refused(1, "hellaswag_val.jsonl", arguments=["--task", "hellaswag"])
        self.assert_refused(1, "RTE.jsonl", "--force")
        self.assert_refused(1, "is not a folder", data=self.folder / "none")

    def test_damaged_data_names_file_and_line(self):
        good = jsonl({"premise": "A", "hypothesis": "B", "label": "entailment"}).encode()
        for content, words in (
                (b"", ("val.jsonl", "no entry")),
                (b"\n \r\n", ("val.jsonl", "no entry")),
                (good + b"\n" + good[:-3], ("val.jsonl, line 3", "JSON")),
                (good + b"[]\n", ("val.jsonl, line 2", "JSON object")),
                (good + b'{"premise": "A", "label": "entailment"}\n',
                 ("val.jsonl, line 2", "no 'hypothesis'", "version")),
                (good + good.replace(b'"B"', b"3"), ("val.jsonl, line 2", "'hypothesis' is 3", "a string")),
                (good.replace(b"entailment", b"maybe"), ("val.jsonl, line 1", "'maybe'", "entailment, not_entailment")),
                (good.replace(b"entailment", b"\\ud800"), ("val.jsonl, line 1", "surrogate")),
                (good.replace(b', "label": "entailment"', b""), ("val.jsonl, line 1", "no 'label'")),
                (good + b'\xff{"premise"', ("val.jsonl", "UTF-8")),
                (b"[" * 100000, ("val.jsonl, line 1", "deep")),
                (b"version https://git-lfs.github.com/spec/v1\n", ("val.jsonl", "Git LFS"))):
            with self.subTest(words=words):
                self.save("SuperGLUE/RTE/val.jsonl", content)
                self.assert_refused(1, *words)
                self.assertEqual(list(self.output.iterdir()), [])
        (self.data / "SuperGLUE/RTE/val.jsonl").unlink()
        for task, name, content, words in (
                ("chid-dev", "FewCLUE/chid/dev_few_all.json",
                 jsonl({"content": "#idiom#", "candidates": ["a"], "answer": 0}), ("line 1", "candidates")),
                ("chid-dev", "FewCLUE/chid/dev_few_all.json",
                 jsonl({"content": "x", "candidates": ["a"] * 7, "answer": 0}), ("line 1", "#idiom#")),
                ("MultiRC", "SuperGLUE/MultiRC/val.jsonl", jsonl({"passage": {"text": "x", "questions": 3}}),
                 ("line 1", "'passage.questions' is no list")),
                ("piqa", "piqa.jsonl", jsonl({"query": "Q: x", "choices": ["a", "b"], "gold": 0}),
                 ("line 1", "'query'")),
                ("race-high", "RACE/test/high/1.txt", json.dumps({"article": "x", "questions": ["a"], "options": [],
                                                                  "answers": ["A"]}), ("1.txt", "one length")),
                ("crows_pairs", "crows_pairs_anonymized.csv", "a,sent_more,sent_less\n0,x\n", ("line 2", "2 cells")),
                ("crows_pairs", "crows_pairs_anonymized.csv", 'a,sent_more,sent_less\n0,"x"y,z\n', ("line 2", "CSV"))):
            with self.subTest(task=task, words=words):
                self.save(name, content)
                self.assert_refused(1, Path(name).name, *words, arguments=["--task", task])

    def test_wrong_usage(self):
        for arguments in ([], ["--task", "RTE"], ["--task", "passkey", "RTE"]):
            run = subprocess.run([sys.executable, SCRIPT, "--output", self.output, *arguments], capture_output=True,
                                 text=True)
            self.assertEqual(run.returncode, 2, run.stdout)
            self.assertIn("--data DIR is missing", run.stderr)
        self.assertFalse(self.output.exists())
        self.assert_refused(2, "rte", "is it RTE?", arguments=["--task", "rte"])
        self.assert_refused(2, "--limit", arguments=["--limit", "0"])

    @unittest.skipIf(tokenizers is None, "the Python package tokenizers is absent")
    def test_a_tokenizer_writes_the_ids_of_the_whole_text(self):
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        texts = [f"Ann met Eve and {name} left." for name in ("Ann", "Eve")]
        tokenizer.train_from_iterator(texts * 9, tokenizers.trainers.BpeTrainer(
            vocab_size=300, special_tokens=["<s>"], show_progress=False,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
        tokenizer.enable_truncation(4)
        tokenizer.save(str(self.folder / "tokenizer.json"))
        tokenizer.no_truncation()
        self.save("winogrande/dev.jsonl", jsonl({"option1": "Ann", "option2": "Eve", "answer": "2",
                                                 "sentence": "Ann met Eve and _ left."}))
        header, item = self.made("winogrande-ll", "--tokenizer", self.folder / "tokenizer.json")
        self.assertEqual((header["rule"], header["bos"]), ("ll", 0))
        ids = [tokenizer.encode(text).ids for text in texts]
        before = [len(tokenizer.encode(text.removesuffix(" left.")).ids) for text in texts]
        self.assertEqual(item, {"id": "0", "ids": ids, "from": before, "gold": 1})
        tokenizer.post_processor = tokenizers.processors.ByteLevel()
        tokenizer.save(str(self.folder / "tokenizer.json"))
        header, item = self.made("winogrande", "--tokenizer", self.folder / "tokenizer.json")
        self.assertNotIn("bos", header)
        self.assertEqual(item["ids"], [tokenizer.encode("Good sentence: " + text).ids for text in texts])
        self.save("nq/nq-test.qa.csv", "who met Ann\t['Eve']\n")
        header, item = self.made("nq", "--tokenizer", self.folder / "tokenizer.json")
        self.assertEqual(item, {"id": "0", "ids": tokenizer.encode("Question: who met Ann?\nAnswer: ").ids,
                                "answers": ["Eve"]})
        self.assert_refused(1, "none.json", arguments=["--force", "--tokenizer", self.folder / "none.json"])

    @unittest.skipUnless(EVAL.is_dir(), f"{EVAL} is not there")
    def test_public_data_sets_have_the_items_that_results_are_of(self):
        run = self.run_script(data=EVAL)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual([line.partition(":")[0] for line in run.stdout.split("\n") if "published results" in line],
                         list(PARTS))
        found = {file.stem: [json.loads(line) for line in self.read(file.stem)[1:]] for file in self.output.iterdir()}
        self.assertEqual({task: len(items) for task, items in found.items()}, COUNTS | PARTS)
        self.assertEqual(len({item["group"] for item in found["MultiRC"]}), 83)
        for task, share in COMMONEST.items():
            golds = [item["gold"] for item in found[task]]
            self.assertAlmostEqual(100 * max(map(golds.count, set(golds))) / len(golds), share, delta=0.06, msg=task)


if __name__ == "__main__":
    unittest.main()
