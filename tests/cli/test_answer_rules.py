# SPDX-License-Identifier: Apache-2.0
"""The answer rules against Python's own str and re, in which the public evaluators state them; and that a text which
is settled stays so, whatever follows."""

import codecs
import json
import random
import re
import string
import sys
import tempfile
import unicodedata
import unittest

from program import PRINT_ANSWERS, ROOT, run_program

codecs.register_error("each byte", lambda error: ("\ufffd", error.start + 1))


def words_of(text: str) -> str:
    text = re.split(r"[\n.,]", text, maxsplit=1)[0]
    text = re.sub(r"[^\w\s]", "", text)
    text = re.sub(r"\b(a|an|the)\b", "", text, flags=re.IGNORECASE)
    return re.sub(r"\s+", " ", text).strip()


def record_words(text: str) -> str:
    return words_of(text.strip().split("\n")[0].replace("Answer: ", "").strip())


def first_word(text: str) -> str:
    return words_of(re.split(f"[{string.punctuation}]", text.strip().split(" ")[0])[0])


def digits(text: str) -> str:
    words = text.split("\n\n")[0].split(" ")
    found = [word for word in words if any(character.isdigit() for character in word)]
    return "".join(character for character in found[-1] if character.isdigit()) if found else ""


def last_number(text: str) -> str:
    return (re.findall(r"\-?\d+\.\d+|\-?\d+", text.split("Question:")[0]) or ["NULL"])[-1]


def is_number(extracted: str, answer: str) -> bool:
    try:
        return extracted == answer or abs(float(extracted) - int(answer)) < 1e-6
    except (ValueError, OverflowError):
        return False


def is_exact(extracted: str, answer: str) -> bool:
    return extracted in (words_of(answer), answer)


RULES = {
    "contains": (lambda text: text.split("\n")[0].lower(),
                 lambda extracted, answer: words_of(answer).lower() in extracted),
    "em": (words_of, is_exact),
    "em-record": (record_words, is_exact),
    "first-word": (first_word, lambda extracted, answer: extracted == words_of(answer)),
    "gsm8k-2023": (digits, str.__eq__),
    "gsm8k-2024": (last_number, is_number),
}
PIECES = [
    *"\n.,\n\n\n  \t\r\x0b\x0c\x1c\x1f\x85\xa0\u1680\u2003\u2028\u3000", *string.punctuation, *"aAnNtThHeExyz_",
    *"0123456789",
    *["\n\n"] * 5, "the", "The", " a ", " an ", " THE ", "theory", "Answer: ", "Answer:", "Question:", "Question",
    "$72.00", "-5", "1,234", "3.5", "--7", "1_000", "+5",
    *"²½Ⅷ٣७０９𝗟一三", *"。，、？！“”：；·", *"éÉßẞİıſKÅΣσςΑΆΐЖжЁёДԱաႠᲐꙀ",
    "ΑΣ", "ΑΣ'", "Σ.", "\u0301", "\u200d", "\ufffd", "’", "北京", "日本語", "あア", "한국", "ก็", "हिन्दी", "🐎", "\U0001d400",
    "Ⓐⓐ", "ǅ", "ﬀ", "𐐀"]
ENDINGS = ["", " ", "\n", "9", " 8", "x", " yz", ".", ",", "\n\n", "\nx", "\n\n7", "Question: 6", "Answer: q", "\u0301",
           "σ"]


def some_text(source: random.Random, most: int = 12) -> str:
    return "".join(source.choices(PIECES, k=source.randint(0, most)))


def outcome(rule: str, text: str, answers: list[str]) -> tuple[str, bool]:
    extract, meets = RULES[rule]
    return extract(text), any(meets(extract(text), answer) for answer in answers)


TABLES = ROOT / "calibrate/evaluate/unicode_tables.h"


def knows_the_same() -> bool:
    return f"of Unicode {unicodedata.unidata_version}." in TABLES.read_text(encoding="utf-8")


class AnswerRules(unittest.TestCase):
    def ask(self, questions: list[tuple[str, bytes, list[str]]]) -> list[dict]:
        self.assertTrue(PRINT_ANSWERS.exists(), f"{PRINT_ANSWERS} is not there: build it, or name it in "
                                                "KVCALIB_PRINT_ANSWERS")
        lines = "".join(json.dumps({"rule": rule, "text": text.hex(), "answers": answers}) + "\n"
                        for rule, text, answers in questions)
        with tempfile.NamedTemporaryFile("w", prefix="kvcalib-test-", suffix=".jsonl") as file:
            file.write(lines)
            file.flush()
            run = run_program(PRINT_ANSWERS, file.name)
        self.assertEqual(run.code, 0, run.err)
        answers = [json.loads(line) for line in run.out.split("\n") if line]
        self.assertEqual(len(answers), len(questions))
        return answers

    def assert_as_python(self, questions: list[tuple[str, bytes, list[str]]]):
        for (rule, text, answers), found in zip(questions, self.ask(questions)):
            expected = outcome(rule, text.decode("utf-8", "each byte"), answers)
            self.assertEqual((found["extracted"], found["right"]), expected, (rule, text, answers))

    def test_tables_are_what_their_script_writes(self):
        if not knows_the_same():
            self.skipTest("this Python is of another Unicode version")
        run = run_program(sys.executable, ROOT / "scripts/make_unicode_tables.py")
        self.assertEqual(run.code, 0, run.err)
        self.assertEqual(run.out, TABLES.read_text(encoding="utf-8"))

    def test_every_character(self):
        """That Python knows: in the place of a letter, before and behind a final sigma, and as a digit."""
        characters = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point <= 0xDFFF]
        if not knows_the_same():
            characters = [character for character in characters if unicodedata.ucd_3_2_0.category(character) != "Cn"]
        for rule, text in (("contains", "{0}Σ A{0}Σ AΣ{0} AΣ{0}A|"), ("em", "x{0}y a{0} {0}|"), ("gsm8k-2023", "{0}|"),
                           ("gsm8k-2024", "x-{0}|")):
            lines = ["".join(text.replace("{0}", character) for character in characters[first:first + 64])
                     for first in range(0, len(characters), 64)]
            with self.subTest(rule=rule):
                self.assert_as_python([(rule, line.encode(), ["x"]) for line in lines])

    def test_random_texts(self):
        source = random.Random(1)
        questions = []
        for _ in range(12000):
            text, rule = some_text(source), source.choice(list(RULES))
            near = RULES[rule][0](text) or "7"
            answers = [some_text(source, 3) or "x", near, f"The {near}", f" {near}.0", near.upper()]
            questions.append((rule, text.encode(), source.sample(answers, source.randint(1, 2))))
        self.assert_as_python(questions)
        right = sum(outcome(rule, text.decode(), answers)[1] for rule, text, answers in questions)
        self.assertGreater(min(right, len(questions) - right), 1200)

    def test_bytes_that_are_no_utf_8(self):
        source = random.Random(2)
        self.assert_as_python([(source.choice(list(RULES)), bytes(source.choices([*b"a 7\n.", *range(128, 256)], k=9)),
                                ["a"]) for _ in range(3000)])

    def test_what_is_settled_stays(self):
        """A text that is cut anywhere, in the middle of a character too, as bytes and as it then is shown."""
        source = random.Random(3)
        cuts = []
        for _ in range(6000):
            whole = some_text(source, 20).encode()
            part = whole[:source.randint(0, len(whole))]
            shown = part.decode("utf-8", "each byte").encode()
            cuts += [(rule, part, whole) for rule in RULES] + [(rule, shown, whole) for rule in RULES]
        settled = dict.fromkeys(RULES, 0)
        for (rule, part, whole), found in zip(cuts, self.ask([(rule, part, ["x"]) for rule, part, _ in cuts])):
            if found["settled"]:
                settled[rule] += 1
                extract = RULES[rule][0]
                self.assertEqual(found["extracted"], extract(whole.decode()), (rule, part, whole))
        self.assertGreater(min(settled.values()), 200, settled)

    def test_what_is_not_settled_may_change(self):
        """So that generation is not carried on for nothing."""
        source = random.Random(4)
        texts = [(rule, some_text(source).rstrip("\ufffd")) for rule in RULES for _ in range(1500)]
        changing = dict.fromkeys(RULES, 0)
        for (rule, text), found in zip(texts, self.ask([(rule, text.encode(), ["x"]) for rule, text in texts])):
            can_change = len({RULES[rule][0](text + ending) for ending in ENDINGS}) > 1
            self.assertEqual(not found["settled"], can_change, (rule, text))
            changing[rule] += can_change
        self.assertTrue(all(0 < count < 1500 for count in changing.values()), changing)


if __name__ == "__main__":
    unittest.main()
