#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes documents as token ids for `kvcalib calibrate --data IDS.npy`, for models that have only a tokenizer.json.

IDS.npy (int32) holds the ids of all documents end to end, IDS.offsets.npy (int64) beside it where each document's first
id is, and the end. kvcalib draws windows from the two as it draws them from the text itself.
"""

import argparse
import glob
import gzip
import importlib
import json
import math
import os
import re
import sys
import tempfile
import zlib
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Iterator

DEEPEST = 128  # arrays and objects of JSON in each other
POINTER = b"version https://git-lfs.github.com/spec/"  # how the file begins that Git LFS leaves
BATCH = 1024  # documents that are cut at once, by all cores
REPORT = 64  # batches between two lines of progress
EXPECTED = 'expected lines such as {"text": "..."}'


class Failure(Exception):
    """Something the user can mend: what was found, and what to do."""


def decode(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Failure(f"{where}: is not UTF-8 ({error.reason} at byte {error.start + 1})") from None


def depth_of(text: str) -> int:
    """How many arrays and objects of a JSON text lie in each other at most; 0 where there are few in all."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return 0
    depth = deepest = 0
    for bracket in re.findall(r"[\[{\]}]", re.sub(r'"(?:[^"\\]|\\.)*"?', "", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def refuse_constant(name: str) -> None:
    raise ValueError("JSON has no NaN and no Infinity; write null or a number")


def number_of(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError("a number beyond the range of a double")
    return number


def parse_json(text: str, **hooks) -> object:
    """The value of a text that is JSON as kvcalib has it (sharding/files/json_reader.h), or a ValueError."""
    if depth_of(text) > DEEPEST:
        raise ValueError(f"holds arrays or objects more than {DEEPEST} deep in each other")
    return json.loads(text.removeprefix("\ufeff"), parse_constant=refuse_constant, parse_float=number_of,
                      parse_int=number_of, **hooks)


def has_half_pair(text: str) -> bool:
    """Whether a JSON text escapes half of a surrogate pair, be it in a value that another of its key hides."""
    if not re.search(r"\\u[dD][89a-fA-F]", text):
        return False
    try:
        json.dumps(parse_json(text, object_pairs_hook=list), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def text_of_line(line: bytes, where: str) -> str:
    text = decode(line, where)
    try:
        entry = parse_json(text)
        if has_half_pair(text):
            raise ValueError(r"half of a surrogate pair (\ud800 to \udfff), which is no character")
    except ValueError as error:
        raise Failure(f"{where}: is not JSON: {error}; {EXPECTED}") from None
    found = entry.get("text") if isinstance(entry, dict) else None
    if not isinstance(found, str):
        raise Failure(f"{where}: has no string 'text'; {EXPECTED}")
    return found


def refuse_pointer(path: Path) -> None:
    with open(path, "rb") as file:
        begin = file.read(len(POINTER))
    if begin == POINTER:
        raise Failure(f"{path}: is a Git LFS pointer, which stands for the file that was not fetched; "
                      "fetch it with git lfs pull")


def documents_of(path: Path, file: BinaryIO) -> Iterator[str]:
    if path.name.removesuffix(".gz").endswith(".txt"):
        yield decode(file.read(), str(path))
        return
    for number, line in enumerate(file, 1):
        if line.strip(b" \t\r\n"):
            yield text_of_line(line, f"{path}, line {number}")


def documents(paths: list[Path]) -> Iterator[str]:
    """The texts of all files, one file after the other, read as they are asked for."""
    for path in paths:
        empty = True
        try:
            refuse_pointer(path)
            with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
                for text in documents_of(path, file):
                    yield text
                    empty = False
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise Failure(f"{path}: is not gzip, or damaged ({error}); fetch the file again") from None
        if empty:
            raise Failure(f"{path}: holds no document; {EXPECTED}")


def expand(patterns: list[str]) -> list[Path]:
    """The files that names and patterns stand for, the matches of each sorted."""
    files: list[Path] = []
    for pattern in patterns:
        names = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern))
        if not names:
            raise Failure(f"--data {pattern}: no such file")
        for path in map(Path, names):
            if not path.is_file():
                raise Failure(f"--data {path}: is not a file")
            if not path.name.removesuffix(".gz").endswith((".jsonl", ".json", ".txt")):
                raise Failure(f"--data {path}: has an unknown extension; expected .jsonl, .json or .txt, "
                              "each also with .gz behind")
            if path in files:
                raise Failure(f"--data {path}: is named twice; its documents would count twice")
            files.append(path)
    return files


def required(package: str):
    try:
        return importlib.import_module(package)
    except ImportError:
        raise Failure(f"needs the Python package {package}: pip install {package}") from None


def load_tokenizer(path: Path):
    tokenizers = required("tokenizers")
    if not path.is_file():
        raise Failure(f"{path}: no such file; name the model's tokenizer.json with --tokenizer")
    refuse_pointer(path)
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library has no type of its own
        raise Failure(f"{path}: is not a tokenizer.json ({error})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def write_ids(tokenizer, texts: Iterator[str], file: BinaryIO) -> list[int]:
    """Writes the ids of all texts as .npy, whose header is filled in at the end, and returns their offsets."""
    numpy = required("numpy")

    def write_header(count: int) -> None:
        numpy.lib.format.write_array_header_1_0(file, {"descr": "<i4", "fortran_order": False, "shape": (count,)})

    write_header(0)
    begin, offsets = file.tell(), [0]
    encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)  # without places in the text
    for number, batch in enumerate(iter(lambda: list(islice(texts, BATCH)), []), 1):
        for encoding in encode(batch):
            file.write(numpy.array(encoding.ids, "<i4").tobytes())
            offsets.append(offsets[-1] + len(encoding.ids))
        if number % REPORT == 0:
            print(f"{len(offsets) - 1} documents, {offsets[-1]} tokens", file=sys.stderr)
    file.seek(0)
    write_header(offsets[-1])
    assert file.tell() == begin, "the header has grown"
    return offsets


def write_whole(path: Path, write) -> Path:
    """What `write(file)` writes, on the disk under another name beside `path`, or nothing."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(descriptor)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)


def write_both(tokenizer, texts: Iterator[str], output: Path, offsets_output: Path) -> list[int]:
    """Both files, or neither; never the ids of one run beside the offsets of another."""
    numpy, offsets, written = required("numpy"), [], []
    try:
        written.append(write_whole(output, lambda file: offsets.extend(write_ids(tokenizer, texts, file))))
        written.append(write_whole(offsets_output, lambda file: numpy.save(file, numpy.array(offsets, "<i8"))))
        output.unlink(missing_ok=True)
        os.replace(written[1], offsets_output)
        os.replace(written[0], output)
    except BaseException:
        for name in written:
            name.unlink(missing_ok=True)
        raise
    return offsets


def parse(arguments: list[str]) -> argparse.Namespace:
    def count(text: str) -> int:
        if not 1 <= int(text) <= sys.maxsize:
            raise ValueError
        return int(text)

    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="FILE", help="the model's tokenizer.json")
    parser.add_argument("--data", nargs="+", required=True, metavar="FILE",
                        help="C4 as distributed (.json.gz), .jsonl, .json or .txt; files or patterns")
    parser.add_argument("--output", type=Path, required=True, metavar="IDS.npy", help="the file to write")
    parser.add_argument("--documents", type=count, metavar="N",
                        help="stop after N documents: windows are then drawn from these, not, as get_c4 does, from all")
    parser.add_argument("--force", action="store_true", help="replace IDS.npy and its offsets if they are there")
    options = parser.parse_args(arguments)
    if options.output.suffix != ".npy":
        parser.error(f"argument --output: {options.output} must end in .npy")
    return options


def run(options: argparse.Namespace) -> None:
    output = options.output
    offsets_output = output.with_suffix(".offsets.npy")
    if not output.parent.is_dir():
        raise Failure(f"--output {output}: the folder {output.parent} is not there")
    for file in (output, offsets_output):
        if file.exists() and not options.force:
            raise Failure(f"--output {file}: is there already; use --force to replace it")
    texts = islice(documents(expand(options.data)), options.documents)
    offsets = write_both(load_tokenizer(options.tokenizer), texts, output, offsets_output)
    print(f"{output}: {len(offsets) - 1} documents, {offsets[-1]} tokens; kvcalib calibrate --data {output}")


def main() -> int:
    options = parse(sys.argv[1:])
    try:
        run(options)
    except (Failure, OSError, MemoryError) as failure:
        print(f"tokenize_text.py: error: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
