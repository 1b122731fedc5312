# SPDX-License-Identifier: Apache-2.0
"""configs/tasks: the exact text of each row that scripts/make_tasks.py makes of entries in the data set's layout."""

import csv
import io
import json
import unittest

from task_maker import TaskTest, jsonl


def table(*rows: list) -> str:
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue()


class TaskRows(TaskTest):
    def test_clue_and_few_clue(self):
        pair = {"sentence1": "甲在哪", "sentence2": "乙在哪"}
        self.save("CLUE/AFQMC/dev.json", jsonl(pair | {"label": "1"}))
        question = "语句一：“甲在哪”\n语句二：“乙在哪”\n语句一与语句二是关于蚂蚁金融产品的疑问，两者所询问的内容是否完全一致？\n"
        self.assert_items("afqmc-dev", {"texts": [question + "不完全一致", question + "完全一致"], "gold": 1},
                          header={"dataset": "CLUE", "labels": ["不完全一致", "完全一致"]})
        for split, file in (("dev", "dev_few_all.json"), ("test", "test_public.json")):
            self.save(f"FewCLUE/bustm/{file}", jsonl(pair | {"id": 3, "label": "0"}))
            question = "语句一：“甲在哪”\n语句二：“乙在哪”\n请判断语句一和语句二说的是否是一个意思？\n"
            self.assert_items(f"bustm-{split}", {"texts": [question + "两句话说的毫不相关。", question + "两句话说是的一个意思。"],
                                                 "gold": 0})
            self.save(f"FewCLUE/chid/{file}", jsonl({"id": 1, "candidates": list("一二三四五六七"), "answer": 6,
                                                     "content": "他#idiom#地走了。"}))
            self.assert_items(f"chid-{split}", {"texts": [f"以下句子是否通顺？\n他{idiom}地走了。\n这个句子是通顺的。"
                                                         for idiom in "一二三四五六七"], "gold": 6})
            self.save(f"FewCLUE/cluewsc/{file}", jsonl(
                {"target": {"span2_index": 4, "span1_index": 0, "span1_text": "小明", "span2_text": "他"}, "idx": 0,
                 "label": "true", "text": "小明说，他饿了。"}))
            question = '小明说，他饿了。\nHere, is the pronoun "他" used to mean "小明"? '
            self.assert_items(f"cluewsc-{split}", {"texts": [question + "No.", question + "Yes."], "gold": 1})
            self.save(f"FewCLUE/eprstmt/{file}", jsonl({"id": 0, "sentence": "很好用", "label": "Positive"},
                                                       {"id": 1, "sentence": "坏了", "label": "Negative"}))
            self.assert_items(f"eprstmt-{split}", *(
                {"texts": [f'内容： "{sentence}"。情绪分类：\n消极。', f'内容： "{sentence}"。情绪分类：\n积极。'], "gold": gold}
                for sentence, gold in (("很好用", 1), ("坏了", 0))))

    def test_entailment_rows(self):
        for task, file, first, second in (("AX_b", "AX-b/AX-b.jsonl", "sentence1", "sentence2"),
                                          ("AX_g", "AX-g/AX-g.jsonl", "premise", "hypothesis"),
                                          ("RTE", "RTE/val.jsonl", "premise", "hypothesis")):
            with self.subTest(task=task):
                self.save(f"SuperGLUE/{file}", jsonl({second: "It rains.", first: "It pours.", "label": "entailment"},
                                                     {second: "{premise}", first: "{choice}",
                                                      "label": "not_entailment"}))
                question = "\nIs the sentence below entailed by the sentence above?\n"
                self.assert_items(task, *({"texts": [text + question + "Yes", text + question + "No"], "gold": gold}
                                          for text, gold in (("It pours.\nIt rains.", 0), ("{choice}\n{premise}", 1))),
                                  header={"dataset": "SuperGLUE", "labels": ["Yes", "No"]})

    def test_boolq_takes_truth_as_json_or_as_text(self):
        entry = {"question": "is it dry", "passage": "It rains.", "idx": 0}
        self.save("SuperGLUE/BoolQ/val.jsonl", jsonl(entry | {"label": "true"}, entry | {"label": False}))
        texts = ["It rains.\nQuestion: is it dry?\nNo", "It rains.\nQuestion: is it dry?\nYes"]
        self.assert_items("BoolQ", {"texts": texts, "gold": 1}, {"texts": texts, "gold": 0})

    def test_cb(self):
        self.save("SuperGLUE/CB/val.jsonl", jsonl({"premise": "A.", "hypothesis": "B", "label": "neutral", "idx": 0}))
        question = "A.\nB\nWhat is the relation between the two sentences?\n"
        self.assert_items("CB", {"texts": [question + word for word in ("Contradiction", "Entailment", "Neutral")],
                                 "gold": 2})

    def test_copa(self):
        entry = {"premise": "It rained.", "choice1": "I got wet.", "choice2": "I slept.", "label": 0, "idx": 0}
        self.save("SuperGLUE/COPA/val.jsonl", jsonl(entry | {"question": "effect"}))
        question = "It rained.\nQuestion: What may be the effect?\nAnswer:\n"
        self.assert_items("COPA", {"texts": [question + "I got wet.", question + "I slept."], "gold": 0},
                          header={"labels": None})

    def test_multirc_has_an_item_per_answer_and_a_group_per_passage(self):
        def passage(text, *questions):
            return {"idx": 0, "passage": {"text": text, "questions": [
                {"question": question, "answers": [{"text": answer, "label": label} for answer, label in answers]}
                for question, answers in questions]}}
        self.save("SuperGLUE/MultiRC/val.jsonl", jsonl(
            passage("One\u2028two.", ("Who?", [("I", 1), ("You", 0)]), ("Why?", [("So", 0)])),
            passage("Three.", ("How?", [("Well", 1)]))))

        def item(text, question, answer, gold, group):
            begin = f"{text}\nQuestion: {question}\nAnswer: {answer}\nIs it true?\n"
            return {"group": group, "texts": [begin + "No, it is false.", begin + "Yes, it is true."], "gold": gold}
        first = "One\u2028two."
        self.assert_items("MultiRC", item(first, "Who?", "I", 1, "0"), item(first, "Who?", "You", 0, "0"),
                          item(first, "Why?", "So", 0, "0"), item("Three.", "How?", "Well", 1, "1"))

    def test_wic(self):
        self.save("SuperGLUE/WiC/val.jsonl", jsonl({"word": "bank", "sentence1": "A bank.", "sentence2": "Banks.",
                                                    "label": "false", "version": 1.1}))
        question = "Sentence 1: A bank.\nSentence 2: Banks.\n'bank' in the above two sentenses are "
        self.assert_items("WiC", {"texts": [question + "different.", question + "the same."], "gold": 0})

    def test_wsc_replaces_the_word_at_the_index(self):
        target = {"span1_index": 0, "span1_text": "Ann  B", "span2_index": 4, "span2_text": "she"}
        self.save("SuperGLUE/WSC/val.jsonl", jsonl({"text": "Ann slept  as she did .", "target": target,
                                                    "label": "true"}))
        self.assert_items("WSC", {"texts": ["Ann slept  as she did .", "Ann slept  as Ann  B did ."], "gold": 1})
        self.save("SuperGLUE/WSC/val.jsonl", jsonl({"text": "Ann slept", "target": target, "label": "true"}))
        self.assert_refused(1, "val.jsonl, line 1", "span2_index", "2 words", arguments=["--force"])

    def test_story_cloze_in_both_forms(self):
        names = ["InputStoryid", *(f"InputSentence{i}" for i in range(1, 5)), "RandomFifthSentenceQuiz1",
                 "RandomFifthSentenceQuiz2", "AnswerRightEnding"]
        cells = ["x", "One.", 'Two "or".', "Three.", "Four.", "Good.", "Bad.", "2"]
        for split in ("train", "eval"):
            self.save(f"xstory_cloze/spring2016.val.en.tsv.split_20_80_{split}.tsv",
                      "\t".join(names) + "\n" + "\t".join(cells) + "\n")
        begin = 'One. Two "or". Three. Four.\n'
        item = {"texts": [begin + "Good.", begin + "Bad."], "gold": 1}
        self.assert_items("story_cloze", item, item)
        keys = [*(f"input_sentence_{i}" for i in range(1, 5)), "sentence_quiz1", "sentence_quiz2"]
        entry = dict(zip(keys, cells[1:])) | {"answer_right_ending": 1}
        for split in ("train", "eval"):
            self.save(f"xstory_cloze/en_{split}.jsonl", jsonl(entry))
        self.assert_items("story_cloze", item | {"gold": 0}, item | {"gold": 0})

    def test_race_in_both_forms(self):
        options = [["one", "two", "three", "four"], ["five", "six", "seven", "eight"]]

        def item(article, question, options, gold, group):
            begin = ("Read the article, and answer the question by replying A, B, C or D.\n\nArticle:\n" + article +
                     f"\n\nQ: {question}\n\nA. {options[0]}\nB. {options[1]}\nC. {options[2]}\nD. {options[3]}\nA: ")
            return {"group": group, "texts": [begin + answer for answer in "ABCD"], "gold": gold}
        expected = [item("Once.", "Who?", options[0], 1, "0"), item("Once.", "Why?", options[1], 3, "0"),
                    item("Twice.", "When?", options[0], 0, "1")]
        for level in ("middle", "high"):
            self.save(f"RACE/test/{level}/12.txt", json.dumps({"article": "Twice.", "questions": ["When?"],
                                                               "options": options[:1], "answers": ["A"]}))
            self.save(f"RACE/test/{level}/9.txt", json.dumps({"article": "Once.", "questions": ["Who?", "Why?"],
                                                              "options": options, "answers": ["B", "D"]}))
            self.assert_items(f"race-{level}", *expected, header={"dataset": "RACE", "labels": list("ABCD")})
            self.save(f"race/test/{level}.jsonl", jsonl(
                {"article": "Once.", "question": "Who?", "options": options[0], "answer": "B"},
                {"article": "Once.", "question": "Why?", "options": options[1], "answer": "D"},
                {"article": "Twice.", "question": "When?", "options": options[0], "answer": "A"}))
            self.assert_items(f"race-{level}", *expected)

    def test_hellaswag(self):
        self.save("hellaswag/hellaswag_val.jsonl", jsonl({"ctx": "He", "endings": ["a", "b", "c", "d"], "label": 2},
                                                         {"ctx": "She", "endings": ["a", "b", "c", "d"], "label": "3"}))
        self.assert_items("hellaswag", {"texts": ["He\na", "He\nb", "He\nc", "He\nd"], "gold": 2},
                          {"texts": ["She\na", "She\nb", "She\nc", "She\nd"], "gold": 3})

    def test_piqa_in_both_forms(self):
        begin = "The following makes sense: \nQ: Dry\nwood\nA: "
        item = {"texts": [begin + "in sun\n", begin + "in rain\n"], "gold": 0}
        self.save("piqa.jsonl", jsonl({"choices": ["in sun", "in rain"], "gold": 0,
                                       "query": "Question: Dry\nwood\n"}))
        self.assert_items("piqa", item)
        self.save("piqa/dev.jsonl", jsonl({"goal": "Dry\nwood", "sol1": "in sun", "sol2": "in rain"}))
        self.save("piqa/dev-labels.lst", "1\n")
        self.assert_items("piqa", item | {"gold": 1})
        self.save("piqa/dev-labels.lst", "1\n0\n")
        self.assert_refused(1, "dev-labels.lst", "2 lines for 1 entries", arguments=["--force"])

    def test_winogrande_by_both_rules_in_both_forms(self):
        sentences = [["Ann met Eve and Ann left.", "Ann met Eve and Eve left."], ["It was Ann's.", "It was Eve's."]]
        places = [[19, 19], [10, 10]]

        def check(golds):
            self.assert_items("winogrande", *({"texts": ["Good sentence: " + text for text in texts], "gold": gold}
                                              for texts, gold in zip(sentences, golds)))
            self.assert_items("winogrande-ll", *({"texts": texts, "from": place, "gold": gold}
                                                 for texts, place, gold in zip(sentences, places, golds)),
                              header={"rule": "ll"})
        self.save("winogrande.jsonl", jsonl(
            {"context_options": ["Ann met Eve and Ann", "Ann met Eve and Eve"], "continuation": "left.", "gold": 1},
            {"context_options": ["It was Ann", "It was Eve"], "continuation": "'s.", "gold": 0}))
        check([1, 0])
        options = {"option1": "Ann", "option2": "Eve"}
        self.save("winogrande/dev.jsonl", jsonl(options | {"sentence": "Ann met Eve and _ left.", "answer": "1"},
                                                options | {"sentence": "It was _'s.", "answer": "2"}))
        check([0, 1])
        self.save("winogrande/dev.jsonl", jsonl(options | {"sentence": "None.", "answer": "1"}))
        self.assert_refused(1, "dev.jsonl, line 1", "gap", arguments=["--force"])

    def test_openbookqa_in_both_forms_and_with_the_fact(self):
        begin = "Question: Fog is\nA. wet\nB. dry\nC. red\nD. old\nAnswer:\n"
        self.save("openbook_qa.jsonl", jsonl({"query": "Fog is", "choices": ["wet", "dry", "red", "old"], "gold": 0}))
        self.assert_items("openbookqa", {"texts": [begin + answer for answer in "ABCD"], "gold": 0})
        entry = {"id": "1", "answerKey": "C", "question": {"stem": "Fog is", "choices": [
            {"text": text, "label": label} for text, label in zip(("wet", "dry", "red", "old"), "ABCD")]}}
        self.save("openbookqa/Main/test.jsonl", jsonl(entry))
        self.assert_items("openbookqa", {"texts": [begin + answer for answer in "ABCD"], "gold": 2})
        self.save("openbookqa/Additional/test_complete.jsonl", jsonl(entry | {"fact1": "Fog is water"}))
        self.assert_items("openbookqa_fact", {"texts": ["Given the fact: Fog is water\n" + begin + answer
                                                        for answer in "ABCD"], "gold": 2})

    def test_crows_pairs_gold_is_always_the_more_stereotypical_sentence(self):
        self.save("crows_pairs_anonymized.csv", table(["", "sent_more", "sent_less", "stereo_antistereo"],
                                                      [0, 'Old, "bad".', "Young\nbad.", "stereo"],
                                                      [1, "a", "b", "antistereo"]))
        begin = "Less biased with good values: "
        self.assert_items("crows_pairs", {"texts": [begin + 'Old, "bad".', begin + "Young\nbad."], "gold": 0},
                          {"texts": [begin + "a", begin + "b"], "gold": 0})

    def test_ceval_puts_five_examples_in_front_and_means_groups(self):
        hard = {"advanced_mathematics": "高等数学", "discrete_mathematics": "离散数学",
                "probability_and_statistics": "概率统计", "college_chemistry": "大学化学", "college_physics": "大学物理",
                "high_school_mathematics": "高中数学", "high_school_chemistry": "高中化学",
                "high_school_physics": "高中物理"}
        names = ["id", "question", "A", "B", "C", "D", "answer"]
        for subject in hard:
            self.save(f"ceval/formal_ceval/val/{subject}_val.csv", table(names, [0, "{A}，？", 1, 2, 3, 4, "D"]))
            self.save(f"ceval/formal_ceval/dev/{subject}_dev.csv",
                      table([*names, "explanation"], *([i, f"例{i}", 5, 6, 7, 8, "ABCDA"[i], "x"] for i in range(5))))
        header, *items = self.made("ceval-hard")
        self.assertEqual((header["average"], header["labels"]), ("groups", list("ABCD")))
        self.assertEqual([(item["group"], item["gold"]) for item in items], [(subject, 3) for subject in hard])
        for item, title in zip(items, hard.values()):
            begin = f"以下是中国关于{title}考试的单项选择题，请选出其中的正确答案。\n"
            shots = "".join(f"{begin}例{i}\nA. 5\nB. 6\nC. 7\nD. 8\n答案: \n{'ABCDA'[i]}\n" for i in range(5))
            self.assertEqual(item["texts"], [f"{shots}{begin}{{A}}，？\nA. 1\nB. 2\nC. 3\nD. 4\n答案: \n{answer}"
                                             for answer in "ABCD"])
        self.assert_refused(1, "computer_network_dev.csv", "is not there", arguments=["--task", "ceval"])
        self.save("ceval/formal_ceval/dev/college_physics_dev.csv", table(names, [0, "x", 1, 2, 3, 4, "A"]))
        self.assert_refused(1, "college_physics_dev.csv", "1 examples, expected 5",
                            arguments=["--task", "ceval-hard", "--force"])

    def assert_questions(self, task: str, extract: str, most: int, *expected: dict):
        self.assert_items(task, *expected, header={"rule": "gen", "extract": extract, "max_new_tokens": most,
                                                   "labels": None})

    def test_cmrc_and_drcd_take_all_answers_and_group_by_paragraph(self):
        def question(text, *answers):
            return {"question": text, "id": text,
                    "answers": [{"text": answer, "answer_start": 0} for answer in answers]}
        paragraphs = [{"id": "P1", "context": "甲在北京。", "qas": [question("谁？", "甲", "甲", "甲氏"), question("哪里？", "北京")]},
                      {"id": "P2", "context": "{x}", "qas": [question("什么？", "x")]}]
        for name in ("CMRC", "DRCD"):
            self.save(f"CLUE/{name}/dev.json", "\ufeff" + json.dumps({"version": "1", "data": [
                {"paragraphs": paragraphs[:1], "title": "A"}, {"paragraphs": paragraphs[1:], "title": "B"}]}, indent=1))
            self.assert_questions(f"{name}_dev", "em", 100, *(
                {"group": group, "prompt": f"文章：{context}\n根据上文，回答如下问题：\n{text}\n答：", "answers": answers}
                for group, context, text, answers in (("P1", "甲在北京。", "谁？", ["甲", "甲氏"]),
                                                      ("P1", "甲在北京。", "哪里？", ["北京"]),
                                                      ("P2", "{x}", "什么？", ["x"]))))

    def test_lambada_asks_for_what_stands_behind_the_last_blank(self):
        begin = "Please complete the following sentence:\n"
        expected = [{"prompt": begin + "He said: \"I am", "answers": ["here\""]},
                    {"prompt": begin + "She\nsaw", "answers": ["it\n\nAnn"]}]
        self.save("lambada_openai.jsonl", jsonl({"context": "He said: \"I am", "continuation": "here\""},
                                                {"context": "She\nsaw it", "continuation": "\n\nAnn"}))
        self.assert_questions("lambada", "first-word", 5, *expected)
        self.save("lambada/test.jsonl", jsonl({"text": " He said: \"I am here\"\n"}, {"text": "She\nsaw it\n\nAnn "}))
        self.assert_questions("lambada", "first-word", 5, *expected)
        self.save("lambada/test.jsonl", jsonl({"text": "Here\n"}))
        self.assert_refused(1, "test.jsonl, line 1", "no blank", arguments=["--force", "--task", "lambada"])

    def test_record_has_an_item_per_query_and_a_group_per_passage(self):
        def query(text, *answers):
            return {"query": text, "idx": 0, "answers": [{"start": 0, "end": 2, "text": answer} for answer in answers]}
        self.save("SuperGLUE/ReCoRD/val.jsonl", jsonl(
            {"source": "x", "passage": {"text": "Ann left.\n@highlight\nEve stayed", "entities": []}, "idx": 0,
             "qas": [query("@placeholder left, as @placeholder said", "Ann", "Ann", "Anna"),
                     query("Who? @placeholder", "Eve")]},
            {"source": "x", "passage": {"text": "None", "entities": []}, "idx": 1,
             "qas": [query("@placeholder", "No")]}))

        def item(text, question, answers, group):
            return {"group": group, "answers": answers,
                    "prompt": f"Passage: {text}\nResult: {question}\nQuestion: What entity does ____ refer to in the "
                              "result? Give me the entity name:"}
        first = "Ann left.\n\nEve stayed"
        self.assert_questions("ReCoRD", "em-record", 100, item(first, "____ left, as ____ said", ["Ann", "Anna"], "0"),
                              item(first, "Who? ____", ["Eve"], "0"), item("None", "____", ["No"], "1"))

    def test_gsm8k_puts_four_worked_examples_in_front(self):
        def check(*numbers):
            header, *items = self.made("gsm8k_main")
            self.assertEqual((header["rule"], header["extract"], header["max_new_tokens"]), ("gen", "gsm8k-2023", 512))
            self.assertEqual([item["answers"] for item in items], [[number] for number in numbers])
            *examples, asked = items[0]["prompt"].split("\n\n")
            self.assertEqual(asked, "Question: How many {x}?\nLet's think step by step\nAnswer:")
            self.assertEqual([example.rpartition("\n")[2] for example in examples],
                             [f"The answer is {number}" for number in (4, 201, 140, 146)])
            for example in examples:
                self.assertRegex(example, r"(?s)\AQuestion: [A-Z].*\?\nLet's think step by step\nAnswer:\n[A-Z].*\Z")
        self.save("gsm8k.jsonl", jsonl({"context": "How many {x}?", "chain_of_thought": "x", "answer": "-1,072"},
                                       {"context": "And?", "chain_of_thought": "x", "answer": "8"}))
        check("-1072", "8")
        self.save("gsm8k/test.jsonl", jsonl({"question": "How many {x}?", "answer": "It is 7.\n#### 1,234,567"}))
        check("1234567")
        self.save("gsm8k/test.jsonl", jsonl({"question": "How many?", "answer": "It is 7."}))
        self.assert_refused(1, "test.jsonl, line 1", "####", arguments=["--force", "--task", "gsm8k_main"])

    def test_nq_and_triviaqa_in_both_forms(self):
        """The blank at the prompt's end is the public config's."""
        pairs = io.StringIO()
        csv.writer(pairs, delimiter="\t").writerows([['who said "no"', "['Ann', \"Eve's\", 'Ann']"],
                                                     ["when", '["1,5"]']])
        answers = [["Ann", "Eve's"], ["1,5"]]
        self.save("NQ-open.dev.jsonl", jsonl({"question": 'who said "no"', "answer": answers[0]}))
        prompts = ['Question: who said "no"?\nAnswer: ', "Question: when?\nAnswer: "]
        items = [{"prompt": prompt, "answers": each} for prompt, each in zip(prompts, answers)]
        self.assert_questions("nq", "contains", 100, items[0])
        self.save("nq/nq-test.qa.csv", pairs.getvalue())
        self.assert_questions("nq", "contains", 100, *items)
        self.save("triviaqa_sm_sub.jsonl", jsonl({"context": "Question: Who?\nAnswer:", "answer": "Ann",
                                                  "aliases": ["Anna", "Ann"]}))
        self.assert_questions("triviaqa", "contains", 50, {"prompt": "Question: Who?\nAnswer: ",
                                                           "answers": ["Anna", "Ann"]})
        self.save("triviaqa/trivia-dev.qa.csv", pairs.getvalue())
        self.assert_questions("triviaqa", "contains", 50, *(item | {"prompt": item["prompt"].replace("?", "")}
                                                            for item in items))
        for content, words in (("who\tAnn\n", ("line 1", "'Ann'")), ("who\t['Ann']\nwhen\n", ("line 2", "1 cells")),
                               ("who\t[]\n", ("line 1", "no answer")), ("who\t['']\n", ("line 1", "an empty answer")),
                               ("who\t[1]\n", ("line 1", "'answer.0' is 1")), ("who\t__import__('os')\n", ("line 1",))):
            self.save("nq/nq-test.qa.csv", content)
            self.assert_refused(1, "nq-test.qa.csv", *words, arguments=["--force", "--task", "nq"])


if __name__ == "__main__":
    unittest.main()
