# SPDX-License-Identifier: Apache-2.0
"""What a record needs beside its fields, for the data sets whose structure demands it."""

from tasks.records import Record
from tokenize_text import Failure

IDIOM, IDIOMS = "#idiom#", 7  # the gap, and how many candidates there are for it
WITHOUT_BLANK = tuple(".,;:!?')-")  # continuations that begin so follow the option directly


def idioms(record: Record) -> dict:
    """ChID: `filled`, the passage with each candidate in its gap."""
    content, candidates = record.text("content"), record.value("candidates")
    if IDIOM not in content or not isinstance(candidates, list) or len(candidates) != IDIOMS:
        raise Failure(f"{record.where}: expected 'content' with {IDIOM} and {IDIOMS} 'candidates'")
    return {"filled": [content.replace(IDIOM, record.text(f"candidates.{i}")) for i in range(IDIOMS)]}


def pronoun(record: Record) -> dict:
    """WSC: `replaced`, the text whose word number span2_index is span1_text; words lie between single blanks."""
    words, index = record.text("text").split(" "), record.number("target.span2_index")
    if index >= len(words):
        raise Failure(f"{record.where}: 'target.span2_index' is {index}, but the text has {len(words)} words")
    words[index] = record.text("target.span1_text")
    return {"replaced": " ".join(words)}


def gap(record: Record) -> dict:
    """Winogrande as distributed: `before`, the sentence up to the end of each option, and `rest`."""
    before, mark, rest = record.text("sentence").partition("_")
    if not mark or "_" in rest:
        raise Failure(f"{record.where}: 'sentence' has not one gap (_)")
    return {"before": [before + record.text("option1"), before + record.text("option2")], "rest": rest}


def stripped_gap(record: Record) -> dict:
    """Winogrande in MosaicML's form, whose continuations have lost their blank."""
    rest = record.text("continuation")
    blank = "" if rest.startswith(WITHOUT_BLANK) else " "
    return {"before": [record.text(f"context_options.{i}") for i in range(2)], "rest": blank + rest}


def entity(record: Record) -> dict:
    """ReCoRD: `text` without its marks, and `question`, the query with the gap shown as ____."""
    return {"text": record.text("passage.text").replace("@highlight", ""),
            "question": record.text("query.query").replace("@placeholder", "____")}


def last_word(record: Record) -> dict:
    """LAMBADA as distributed: `last`, what stands behind the text's last blank, and what stands `before` it."""
    before, blank, last = record.text("text").strip().rpartition(" ")
    if not blank:
        raise Failure(f"{record.where}: 'text' has no blank before a last word")
    return {"before": before, "last": last}


def parted_last_word(record: Record) -> dict:
    """LAMBADA in MosaicML's form, which has lost the blank where the last word is no line's first."""
    last = record.text("continuation")
    blank = "" if last.startswith("\n") else " "
    return last_word(record.with_values(text=record.text("context") + blank + last))


def last_number(record: Record) -> dict:
    """GSM8K as distributed: `number`, the answer's end behind its mark."""
    _, mark, number = record.text("answer").partition("#### ")
    if not mark:
        raise Failure(f"{record.where}: 'answer' has no #### before a number")
    return {"number": number.replace(",", "")}


def plain_number(record: Record) -> dict:
    """GSM8K in MosaicML's form: `number`, the answer without commas."""
    return {"number": record.text("answer").replace(",", "")}


DERIVED = {function.__name__: function for function in (idioms, pronoun, gap, stripped_gap, entity, last_word,
                                                        parted_last_word, last_number, plain_number)}
