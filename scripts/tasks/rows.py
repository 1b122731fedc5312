# SPDX-License-Identifier: Apache-2.0
"""The rows of configs/tasks: which data set is asked in which words, and the items that come of it.

A row is a JSON file of
  task, dataset, metric, rule, follows, labels, average, extract, max_new_tokens   as the task file's header has them
  items      how many the data set has that the rule's published results are of
  text       the text that is scored; {choice} stands for the choice, {path} for a field of the record
  choices    what {choice} is, text by text, with fields of its own
  context    for the rule ll: the beginning of the text that is not scored
  gold       {"field", "values": the field's value for each choice, 0, 1, ... where left out}, or {"always": choice}
  prompt     for the rule gen, in the place of text, choices and gold: what is to be continued
  answers    {"field"}: a string or a list of them; {"field", "each"}: a list of records, each with a string there
  group      {"field"}: the cluster is named as the field's value; {"field", "numbered": true}: by its number from 0
  shots      {"separator"}: records at `examples` in front, each with its gold choice
  sources    forms in which the data set is distributed (records.py); the first whose files are there is read
  made       in the place of all from text on: what makes the items without any data set (passkey.py)
"""

import json
import re
from pathlib import Path

from tasks.derived import DERIVED
from tasks.items import Item, Question
from tasks.passkey import passkey_items
from tasks.records import Record, find_files, read_source
from tokenize_text import Failure

FIELD = re.compile(r"\{([\w.]+)\}")
HEADER = ("task", "dataset", "metric", "rule", "extract", "max_new_tokens", "labels", "average", "follows")
MAKERS = {"passkey": passkey_items}


def read_rows(folder: Path) -> dict[str, dict]:
    """All rows of a folder by name; the lists of rows that are beside them (kvcalib-report) are none."""
    files = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
    return {row["task"]: row for row in files if row.get("format") != "kvcalib-report"}


def header(row: dict) -> dict:
    return {"format": "kvcalib-task", "version": 1} | {name: row[name] for name in HEADER if name in row}


def fill(template: str, record: Record) -> str:
    """The template with its fields; what a field brings in is not looked at again."""
    return FIELD.sub(lambda field: record.text(field[1]), template)


def name_of(value) -> str:
    """A gold value as text: data sets have 1, "1" and 1.0, true and "true" for the same."""
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def gold_of(row: dict, source: dict, record: Record) -> int:
    gold = source.get("gold", row["gold"])
    if "always" in gold:
        return gold["always"]
    names = gold.get("values", [str(i) for i in range(len(row["choices"]))])
    found = name_of(record.value(gold["field"]))
    if found not in names:
        raise Failure(f"{record.where}: '{gold['field']}' is {found[:80]!r}, expected one of {', '.join(names)}")
    return names.index(found)


def fill_choice(row: dict, choice: int, record: Record) -> str:
    return fill(row["text"].replace("{choice}", row["choices"][choice]), record)


def answers_of(row: dict, record: Record) -> list[str]:
    """All that are right, each once."""
    field, each = row["answers"]["field"], row["answers"].get("each")
    found = record.value(field)
    if isinstance(found, list):
        paths = [f"{field}.{i}" + (f".{each}" if each else "") for i in range(len(found))]
    else:
        paths = [field]
    answers = list(dict.fromkeys(record.text(path) for path in paths))
    if not all(answers) or not answers:
        raise Failure(f"{record.where}: '{field}' has {'an empty' if answers else 'no'} answer")
    return answers


def group_of(row: dict, record: Record, numbers: dict[str, int]) -> str | None:
    """The record's cluster; `numbers` are those of the clusters seen so far."""
    group = row.get("group")
    if group is None:
        return None
    name = record.text(group["field"])
    return str(numbers.setdefault(name, len(numbers))) if group.get("numbered") else name


def item_of(row: dict, source: dict, record: Record, numbers: dict[str, int]) -> Item | Question:
    """The item of a record; `numbers` are those of the clusters seen so far."""
    if "derive" in source:
        record = record.with_values(**DERIVED[source["derive"]](record))
    group = group_of(row, record, numbers)
    if "prompt" in row:
        return Question(fill(row["prompt"], record), answers_of(row, record), group)
    before = "".join(fill_choice(row, gold_of(row, source, example), example) + row["shots"]["separator"]
                     for example in record.values["examples"]) if "shots" in row else ""
    contexts = [fill(row["context"].replace("{choice}", choice), record) for choice in row["choices"]] \
        if "context" in row else None
    return Item([before + fill_choice(row, choice, record) for choice in range(len(row["choices"]))], contexts,
                gold_of(row, source, record), group)


def is_made(row: dict) -> bool:
    """Whether a row needs no data set."""
    return "made" in row


def missing(row: dict) -> str:
    """The names below the data folder of which one group must be there."""
    return " or ".join(" with ".join(names[0] for names in source["files"]) for source in row["sources"])


def items_of(row: dict, data: Path | None, limit: int | None) -> list[Item] | list[Question] | None:
    """The first `limit` items of a row, in the data set's order, or nothing where its files are not there. A row that
    needs no data set needs no `data`."""
    if is_made(row):
        return MAKERS[row["made"]](row)[:limit]
    for source in row["sources"]:
        files = find_files(source, data)
        if files is not None:
            numbers: dict[str, int] = {}
            return [item_of(row, source, record, numbers) for record in read_source(source, files)[:limit]]
    return None
