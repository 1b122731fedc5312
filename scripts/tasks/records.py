# SPDX-License-Identifier: Apache-2.0
"""The entries of public data sets, read from their own files: JSON, JSON lines, CSV, TSV, pairs of a question and its
answers, RACE's articles, C-Eval's subjects.

A source of a row (configs/tasks) says: `reader`; `files`, for each file the names that are tried below the data folder;
and, where the data set asks for it, `each`, `beside`, `fields` (see below) and `derive` (derived.py).
"""

import ast
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenize_text import Failure, decode, has_half_pair, parse_json, refuse_pointer


@dataclass(frozen=True)
class Record:
    """One entry of a data set, and the file and line that it came from."""

    where: str
    values: dict

    def value(self, path: str):
        """The value that a path such as target.span1_text or choices.0 leads to."""
        found = self.values
        for step in path.split("."):
            if isinstance(found, dict) and step in found:
                found = found[step]
            elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
                found = found[int(step)]
            else:
                raise Failure(f"{self.where}: has no '{path}'; it is damaged or of another version of the data set")
        return found

    def text(self, path: str) -> str:
        found = self.value(path)
        if not isinstance(found, str):
            raise Failure(f"{self.where}: '{path}' is {json.dumps(found, ensure_ascii=False)[:80]}, expected a string")
        return found

    def number(self, path: str) -> int:
        found = self.value(path)
        if not isinstance(found, (int, float)) or isinstance(found, bool) or found != int(found) or found < 0:
            raise Failure(f"{self.where}: '{path}' is {json.dumps(found, ensure_ascii=False)[:80]}, "
                          "expected a whole number")
        return int(found)

    def with_values(self, **more) -> "Record":
        return Record(self.where, self.values | more)


def text_of(path: Path) -> str:
    refuse_pointer(path)
    return decode(path.read_bytes(), str(path)).removeprefix("\ufeff")


def json_of(text: str, where: str) -> dict:
    try:
        entry = parse_json(text)
        if has_half_pair(text):
            raise ValueError(r"half of a surrogate pair (\ud800 to \udfff), which is no character")
    except ValueError as error:
        raise Failure(f"{where}: is not JSON: {error}") from None
    if not isinstance(entry, dict):
        raise Failure(f"{where}: is not a JSON object")
    return entry


def read_jsonl(path: Path) -> Iterator[Record]:
    """Lines end at \\n alone: strings of these data sets hold U+2028 and the like."""
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if line.strip(" \t\r"):
            where = f"{path}, line {number}"
            yield Record(where, json_of(line, where))


def read_json(path: Path) -> Iterator[Record]:
    """A file that is one object."""
    yield Record(str(path), json_of(text_of(path), str(path)))


def read_table(path: Path, rows: Iterator[tuple[int, list[str]]]) -> Iterator[Record]:
    """Rows of cells, each with the line it ends on, under a header."""
    names = next(rows, (0, []))[1]
    for number, cells in rows:
        if cells and len(cells) != len(names):
            raise Failure(f"{path}, line {number}: has {len(cells)} cells, the header {len(names)}")
        if cells:
            yield Record(f"{path}, line {number}", dict(zip(names, cells)))


def csv_rows(path: Path, **dialect: str) -> Iterator[tuple[int, list[str]]]:
    """Rows of cells, each with the line it ends on."""
    reader = csv.reader(io.StringIO(text_of(path), newline=""), strict=True, **dialect)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise Failure(f"{path}, line {reader.line_num}: is not CSV: {error}") from None


def read_csv(path: Path) -> Iterator[Record]:
    yield from read_table(path, csv_rows(path))


def read_pairs(path: Path) -> Iterator[Record]:
    """Questions and their answers, a list as Python writes it, with a tab between them and no header."""
    for number, cells in csv_rows(path, delimiter="\t"):
        where = f"{path}, line {number}"
        if not cells:
            continue
        if len(cells) != 2:
            raise Failure(f"{where}: has {len(cells)} cells, expected a question and its answers")
        try:
            answers = ast.literal_eval(cells[1])
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            answers = None
        if not isinstance(answers, list):
            raise Failure(f"{where}: the answers are {cells[1][:80]!r}, expected a list of strings")
        yield Record(where, {"question": cells[0], "answer": answers})


def read_tsv(path: Path) -> Iterator[Record]:
    """Cells between tabs, in which quotes mean nothing."""
    lines = (line.removesuffix("\r") for line in text_of(path).split("\n"))
    yield from read_table(path, ((number, line.split("\t") if line else []) for number, line in enumerate(lines, 1)))


def read_articles(folder: Path) -> Iterator[Record]:
    """RACE as distributed: a folder of .txt files, each a JSON object with an article and its questions."""
    files = [file for file in folder.glob("*.txt") if file.stem.isdigit()]
    for file in sorted(files, key=lambda file: int(file.stem)):
        article = Record(str(file), json_of(text_of(file), str(file)))
        lists = [article.value(name) for name in ("questions", "options", "answers")]
        if not all(isinstance(each, list) and len(each) == len(lists[0]) for each in lists):
            raise Failure(f"{file}: 'questions', 'options' and 'answers' are not lists of one length")
        for number, (question, options, answer) in enumerate(zip(*lists), 1):
            yield Record(f"{file}, question {number}", {"article": article.text("article"), "question": question,
                                                       "options": options, "answer": answer})


def read_subjects(folder: Path, subjects: dict[str, str], shots: int) -> Iterator[Record]:
    """C-Eval as distributed: val/SUBJECT_val.csv, each question with the first `shots` of dev/SUBJECT_dev.csv."""
    for subject, title in subjects.items():
        names = {"subject": subject, "title": title}
        examples = list(read_csv(present(folder / "dev" / f"{subject}_dev.csv")))[:shots]
        if len(examples) < shots:
            raise Failure(f"{folder / 'dev' / subject}_dev.csv: holds {len(examples)} examples, expected {shots}")
        questions = list(read_csv(present(folder / "val" / f"{subject}_val.csv")))
        if not questions:
            raise Failure(f"{folder / 'val' / subject}_val.csv: holds no entry")
        for question in questions:
            yield question.with_values(**names, examples=[example.with_values(**names) for example in examples])


def present(path: Path) -> Path:
    if not path.exists():
        raise Failure(f"{path}: is not there, but its folder is; fetch the data set again")
    return path


READERS = {"json": read_json, "jsonl": read_jsonl, "csv": read_csv, "pairs": read_pairs, "tsv": read_tsv,
           "articles": read_articles}


def spread(record: Record, each: dict[str, str]) -> Iterator[Record]:
    """A record per entry of nested lists; each name stands for an entry of the list at its path, outer ones first."""
    if not each:
        yield record
        return
    (name, path), *inner = each.items()
    entries = record.value(path)
    if not isinstance(entries, list):
        raise Failure(f"{record.where}: '{path}' is no list")
    for entry in entries:
        yield from spread(record.with_values(**{name: entry}), dict(inner))


def beside(records: list[Record], name: str, path: Path) -> list[Record]:
    """The records with what stands on their lines in another file."""
    lines = [line.strip() for line in text_of(path).split("\n") if line.strip()]
    if len(lines) != len(records):
        raise Failure(f"{path}: has {len(lines)} lines for {len(records)} entries")
    return [record.with_values(**{name: line}) for record, line in zip(records, lines)]


def renamed(record: Record, fields: dict) -> Record:
    """The record with fields under other names: those at a path, or what stands between two ends of a text."""
    found = {}
    for name, field in fields.items():
        if isinstance(field, str):
            found[name] = record.value(field)
            continue
        text = record.text(field["of"])
        if not (text.startswith(field["after"]) and text.endswith(field["before"])):
            raise Failure(f"{record.where}: '{field['of']}' is {text[:40]!r}, expected {field['after']!r}...")
        found[name] = text[len(field["after"]):len(text) - len(field["before"])]
    return record.with_values(**found)


def find_files(source: dict, data: Path) -> list[Path] | None:
    """The files of a source below the data folder, or nothing where one is not there."""
    found = [next((data / name for name in names if (data / name).exists()), None) for names in source["files"]]
    return None if None in found else found


def read_source(source: dict, files: list[Path]) -> list[Record]:
    """All entries of a source, which are at least one per file."""
    records = []
    if source["reader"] == "subjects":
        return list(read_subjects(files[0], source["subjects"], source["shots"]))
    aside = len(source.get("beside", ()))
    for path in files[:len(files) - aside]:
        read = [part for record in READERS[source["reader"]](path) for part in spread(record, source.get("each", {}))]
        if not read:
            raise Failure(f"{path}: holds no entry; the file is empty or another one")
        records += read
    for name, path in zip(source.get("beside", ()), files[len(files) - aside:]):
        records = beside(records, name, path)
    return [renamed(record, source.get("fields", {})) for record in records]
