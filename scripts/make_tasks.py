#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the rows of configs/tasks, whose data sets are read from their own files, as task files for `kvcalib evaluate
--tasks`: DIR/NAME.jsonl each.

The prompts are those of OpenCompass's base_medium of July 2023; each file says which of its configs it follows. Data
sets that are not there are listed and left out, unless --task names them. The row passkey needs none.
"""

import argparse
import difflib
import json
import os
import sys
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from tasks.items import Item, Question
from tasks.rows import header, is_made, items_of, missing, read_rows
from tokenize_text import Failure, load_tokenizer, write_whole

ROWS = Path(__file__).resolve().parent.parent / "configs/tasks"
BATCH = 1024  # items that are cut into tokens at once, by all cores


def common_prefix(first: list[int], second: list[int]) -> int:
    return next((i for i, (one, other) in enumerate(zip(first, second)) if one != other),
                min(len(first), len(second)))


def encode(tokenizer, items: list[Item] | list[Question]) -> list[dict]:
    """Each item's `ids` and, where a context is given, `from`: how many tokens the text and its context share."""
    def ids_of(texts: list[str]):
        return iter([encoding.ids for encoding in tokenizer.encode_batch(texts)])

    if isinstance(items[0], Question):
        return [{"ids": ids} for ids in ids_of([item.prompt for item in items])]
    texts = ids_of([text for item in items for text in item.texts])
    contexts = ids_of([text for item in items for text in item.contexts or ()])
    encoded = []
    for item in items:
        ids = list(islice(texts, len(item.texts)))
        places = [common_prefix(next(contexts), whole) for whole in ids] if item.contexts else None
        encoded.append({"ids": ids} | ({"from": places} if places else {}))
    return encoded


def as_text(item: Item | Question) -> dict:
    if isinstance(item, Question):
        return {"prompt": item.prompt}
    return {"texts": item.texts} | ({"from": [len(context) for context in item.contexts]} if item.contexts else {})


def scored(items: list[Item] | list[Question], tokenizer) -> list[dict]:
    """What is scored of each item, as text or as tokens."""
    if tokenizer:
        return [part for first in range(0, len(items), BATCH) for part in encode(tokenizer, items[first:first + BATCH])]
    return list(map(as_text, items))


def lines_of(row: dict, items: list[Item] | list[Question], tokenizer) -> list[dict]:
    first = tokenizer.encode("").ids[:1] if tokenizer else []  # what begins every text, if anything does
    lines = [header(row) | ({"bos": first[0]} if first else {})]
    for number, (item, part) in enumerate(zip(items, scored(items, tokenizer))):
        group = {} if item.group is None else {"group": item.group}
        right = {"answers": item.answers} if isinstance(item, Question) else {"gold": item.gold}
        lines.append({"id": item.name or str(number)} | group | part | right)
    return lines


def write_lines(path: Path, lines: list[dict]) -> None:
    def write(file: BinaryIO) -> None:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False).encode("utf-8") + b"\n")

    os.replace(write_whole(path, write), path)


def make(row: dict, options: argparse.Namespace, tokenizer) -> bool:
    """Writes one row and says so, or says what it lacks; whether its data set was there."""
    items = items_of(row, options.data, options.limit)
    if items is None:
        if options.task:
            raise Failure(f"--task {row['task']}: {missing(row)} is not there below {options.data}")
        print(f"{row['task']}: left out: {missing(row)} is not there")
        return False
    path = options.output / f"{row['task']}.jsonl"
    write_lines(path, lines_of(row, items, tokenizer))
    other = "" if options.limit or len(items) == row["items"] else f" (the published results are of {row['items']})"
    texts = sum(1 if isinstance(item, Question) else len(item.texts) for item in items)
    print(f"{row['task']}: {len(items)} items{other}, {texts} texts: {path}")
    return True


def make_all(rows: list[dict], options: argparse.Namespace, tokenizer) -> None:
    """Writes the rows; what needs no data set last, and not where all data sets are missed that are looked for."""
    of_data = [row for row in rows if not is_made(row)]
    if of_data and not sum([make(row, options, tokenizer) for row in of_data]):
        raise Failure(f"--data {options.data}: none of the data sets is there; the names that are looked for are above")
    for row in filter(is_made, rows):
        make(row, options, tokenizer)


def run(options: argparse.Namespace, rows: dict[str, dict]) -> None:
    if options.data and not options.data.is_dir():
        raise Failure(f"--data {options.data}: is not a folder")
    wanted = options.task or list(rows)
    options.output.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        path = options.output / f"{name}.jsonl"
        if path.exists() and not options.force:
            raise Failure(f"--output {path}: is there already; use --force to replace it")
    tokenizer = load_tokenizer(options.tokenizer) if options.tokenizer else None
    make_all([rows[name] for name in wanted], options, tokenizer)


def parse(arguments: list[str], rows: dict[str, dict]) -> argparse.Namespace:
    def count(text: str) -> int:
        if not 1 <= int(text) <= sys.maxsize:
            raise ValueError
        return int(text)

    def task(name: str) -> str:
        if name not in rows:
            names = {row.lower(): row for row in rows}
            near = difflib.get_close_matches(name.lower(), names, 1)
            hint = f"is it {names[near[0]]}?" if near else f"they are {', '.join(rows)}"
            raise argparse.ArgumentTypeError(f"{name} is none of the rows; {hint}")
        return name

    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog=f"Rows: {', '.join(rows)}.")
    parser.add_argument("--data", type=Path, metavar="DIR",
                        help="the folder of the data sets, as OpenCompass users have it; passkey alone needs none")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the task files go")
    parser.add_argument("--task", nargs="+", type=task, metavar="NAME", help="the rows to make; default: all")
    parser.add_argument("--limit", type=count, metavar="N", help="only the first N items of each")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE",
                        help="a tokenizer.json: tokens are written in place of text, for models that have no other")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    options = parser.parse_args(arguments)
    needy = [name for name in options.task or rows if not is_made(rows[name])]
    if needy and not options.data:
        parser.error(f"--data DIR is missing, where the data set of {needy[0]} is"
                     + ("" if options.task else "; --task passkey needs none"))
    return options


def main() -> int:
    rows = read_rows(ROWS)
    options = parse(sys.argv[1:], rows)
    try:
        run(options, rows)
    except (Failure, OSError, MemoryError) as failure:
        print(f"make_tasks.py: error: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
