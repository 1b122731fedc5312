#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes token windows for `kvcalib calibrate --data IDS.npy`, for models that have only a tokenizer.json.

The windows are drawn as kvcalib draws them: documents and places in them by Python's random, as LMDeploy's get_c4 does,
or with --pack all documents in shuffled order, end to end. Large files are read as a stream.
"""

import argparse
import bisect
import glob
import importlib
import json
import os
import random
import sys
import tempfile
import zlib
from array import array
from itertools import islice
from pathlib import Path
from typing import Iterator, NamedTuple

LARGEST_DOCUMENT = 64 << 20
PIECE = 1 << 18
SPACING = 4 << 20  # of the places to which a compressed file is open, in bytes of its contents
PATIENCE = 1000  # draws in vain before it is made sure that there is anything to find
EXPECTED = 'expected lines such as {"text": "..."}'


class Failure(Exception):
    """Something the user can mend: what was found, and what to do."""


class PlainContents:
    """The bytes of a file, in order or at a place."""

    def __init__(self, path: Path):
        self.path = path

    def stream(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            while piece := file.read(PIECE):
                yield piece

    def read(self, offset: int, count: int) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(count)


class Place(NamedTuple):
    offset: int  # in the contents
    position: int  # in the file
    inflater: object  # its state there; None between gzip members


class GzipContents:
    """The bytes that a gzip file holds. Streaming them once leaves places behind from which they can be read."""

    def __init__(self, path: Path):
        self.path = path
        self.places = [Place(0, 0, None)]

    def stream(self) -> Iterator[bytes]:
        for piece, place in self._inflate(self.places[0]):
            if place.offset - self.places[-1].offset >= SPACING:
                self.places.append(place._replace(inflater=place.inflater and place.inflater.copy()))
            yield piece

    def read(self, offset: int, count: int) -> bytes:
        place = self.places[bisect.bisect_right(self.places, offset, key=lambda place: place.offset) - 1]
        skipped, parts, missing = offset - place.offset, [], count
        for piece, _ in self._inflate(place):
            part = piece[skipped:skipped + missing]
            skipped = max(skipped - len(piece), 0)
            missing -= len(part)
            parts.append(part)
            if not missing:
                break
        return b"".join(parts)

    def _inflate(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """The contents from a place on, each piece with the place behind it."""
        offset, position, inflater = place.offset, place.position, place.inflater and place.inflater.copy()
        data = b""
        with open(self.path, "rb") as file:
            file.seek(position)
            while True:
                data = data or file.read(PIECE)
                if inflater is None:
                    if not data:
                        break
                    zeros = len(data) - len(data.lstrip(b"\0")) if position else 0
                    position, data = position + zeros, data[zeros:]
                    if not data:
                        continue
                    inflater = zlib.decompressobj(wbits=31)
                try:
                    piece = inflater.decompress(data, PIECE * 4)
                except zlib.error as error:
                    raise Failure(f"{self.path}: is not gzip, or damaged, near byte {position} ({error})") from None
                rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
                if not data and not piece and not inflater.eof:
                    raise Failure(f"{self.path}: the gzip data are cut off at byte {position}; fetch the file again")
                position += len(data) - len(rest)
                offset += len(piece)
                data, inflater = rest, None if inflater.eof else inflater
                if piece:
                    yield piece, Place(offset, position, inflater)
        if position == 0:
            raise Failure(f"{self.path}: is empty, not a gzip file")


def text_of_line(line: bytes, where: str) -> str:
    try:
        entry = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Failure(f"{where}: is not UTF-8 at byte {error.start + 1} of the line") from None
    except (ValueError, RecursionError) as error:
        raise Failure(f"{where}: is not JSON ({error}); {EXPECTED}") from None
    if not isinstance(entry, dict):
        raise Failure(f"{where}: is not a JSON object; {EXPECTED}")
    if "text" not in entry:
        raise Failure(f"{where}: has no 'text'; {EXPECTED}")
    text = entry["text"]
    if not isinstance(text, str):
        raise Failure(f"{where}: 'text' is {json.dumps(text)[:40]}, not a string; {EXPECTED}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Failure(f"{where}: 'text' holds half of a surrogate pair, which is no character") from None
    return text


class Documents:
    """The documents of one file: where they are, not what they say."""

    def __init__(self, path: Path):
        self.path = path
        self.is_lines = path.suffix != ".txt" and not path.name.endswith(".txt.gz")
        self.contents = GzipContents(path) if path.suffix == ".gz" else PlainContents(path)
        self.offsets, self.sizes, self.line_numbers = array("Q"), array("L"), array("L")
        if self.is_lines:
            self._find_lines()
        else:
            size = 0
            for piece in self.contents.stream():
                size += len(piece)
                self._check_size(size, str(path))
            self._add(0, size, 1)
        if not self.offsets:
            raise Failure(f"{path}: holds no document; {EXPECTED}")

    def __len__(self) -> int:
        return len(self.offsets)

    def _add(self, offset: int, size: int, line_number: int) -> None:
        self.offsets.append(offset)
        self.sizes.append(size)
        self.line_numbers.append(line_number)

    def _check_size(self, size: int, where: str) -> None:
        if size > LARGEST_DOCUMENT:
            raise Failure(f"{where}: is a document of more than {LARGEST_DOCUMENT} bytes; "
                          'cut it into JSON lines (.jsonl), one {"text": "..."} for each part')

    def _find_lines(self) -> None:
        number, offset = 1, 0

        def take(line: bytes) -> None:
            self._check_size(len(line), f"{self.path}, line {number}")
            if line.strip(b" \t\r"):
                text_of_line(line, f"{self.path}, line {number}")
                self._add(offset, len(line), number)

        begun = b""
        for piece in self.contents.stream():
            *lines, begun = (begun + piece).split(b"\n")
            for line in lines:
                take(line)
                number, offset = number + 1, offset + len(line) + 1
            self._check_size(len(begun), f"{self.path}, line {number}")
        take(begun)

    def text(self, document: int) -> str:
        data = self.contents.read(self.offsets[document], self.sizes[document])
        if self.is_lines:
            return text_of_line(data, f"{self.path}, line {self.line_numbers[document]}")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start)
            raise Failure(f"{self.path}, line {line + 1}: is not UTF-8") from None


class Corpus:
    """The documents of all files, one file after the other, as token ids."""

    def __init__(self, paths: list[Path], tokenizer):
        self.tokenizer = tokenizer
        self.files = [Documents(path) for path in paths]
        self.starts = [0]
        for file in self.files:
            self.starts.append(self.starts[-1] + len(file))
        self.last: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return self.starts[-1]

    def _place(self, document: int) -> tuple[Documents, int]:
        index = bisect.bisect_right(self.starts, document) - 1
        return self.files[index], document - self.starts[index]

    def bytes(self, document: int) -> int:
        file, index = self._place(document)
        return file.sizes[index]

    def tokens(self, document: int) -> list[int]:
        if self.last[0] != document:
            file, index = self._place(document)
            self.last = (document, self.tokenizer.encode(file.text(index)).ids)
        return self.last[1]


class LongDocuments:
    """The documents of a corpus that fill a window, found one by one."""

    def __init__(self, corpus: Corpus, length: int):
        self.corpus, self.length = corpus, length
        self.longest, self.short = 0, set()

    def draw(self) -> list[int]:
        """The tokens of a random document that is long enough."""
        misses = 0
        while True:
            if misses == PATIENCE and self.longest < self.length:
                self._make_sure_of_one()
            document = random.randint(0, len(self.corpus) - 1)
            if self._is_long(document):
                return self.corpus.tokens(document)
            misses += 1

    def _is_long(self, document: int) -> bool:
        if document in self.short:
            return False
        count = len(self.corpus.tokens(document))
        self.longest = max(self.longest, count)
        if count < self.length:
            self.short.add(document)
        return count >= self.length

    def _make_sure_of_one(self) -> None:
        by_size = sorted(range(len(self.corpus)), key=self.corpus.bytes, reverse=True)
        if any(map(self._is_long, by_size)):
            return
        shorter = f"use --length {self.longest} or less, " if self.longest else "use "
        raise Failure(f"--data: none of the {len(self.corpus)} documents has {self.length} tokens (--length); "
                      f"the longest has {self.longest}; {shorter}--pack to join documents, or more data")


def draw_windows(corpus: Corpus, samples: int, length: int) -> Iterator[list[int]]:
    documents = LongDocuments(corpus, length)
    for _ in range(samples):
        ids = documents.draw()
        first = random.randint(0, len(ids) - length)
        yield ids[first:first + length]


def pack_windows(corpus: Corpus, samples: int, length: int) -> Iterator[list[int]]:
    order = list(range(len(corpus)))
    random.shuffle(order)
    laid, windows = [], 0
    for document in order:
        laid += corpus.tokens(document)
        first = 0
        while len(laid) - first >= length:
            yield laid[first:first + length]
            first, windows = first + length, windows + 1
        laid = laid[first:]
    raise Failure(f"--data: the {len(corpus)} documents hold {windows * length + len(laid)} tokens, enough for {windows} "
                  f"windows of {length}, not for {samples}; use fewer --samples, a shorter --length or more data")


def expand(patterns: list[str]) -> list[Path]:
    """The files that names and patterns stand for, the matches of each sorted."""
    files: list[Path] = []
    for pattern in patterns:
        names = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern))
        if not names:
            raise Failure(f"--data {pattern}: no such file")
        for name in names:
            path = Path(name)
            if not path.is_file():
                raise Failure(f"--data {name}: is not a file")
            if not name.removesuffix(".gz").endswith((".jsonl", ".json", ".txt")):
                raise Failure(f"--data {name}: has an unknown extension; expected .jsonl, .json or .txt, "
                              "each also with .gz behind")
            if path in files:
                raise Failure(f"--data {name}: is named twice; its documents would count twice")
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
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library has no type of its own
        raise Failure(f"{path}: is not a tokenizer.json ({error})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def write_whole(path: Path, windows: Iterator[list[int]], samples: int, length: int) -> None:
    """Writes int32 [samples, length] to `path`, or nothing."""
    numpy = required("numpy")
    ids = numpy.empty((samples, length), numpy.int32)
    for row, window in enumerate(islice(windows, samples)):
        ids[row] = window
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            numpy.save(file, ids)
            file.flush()
            os.fsync(descriptor)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def parse(arguments: list[str]) -> argparse.Namespace:
    def at_least(least: int):
        def number(text: str) -> int:
            value = int(text)
            if not least <= value < 1 << 64:
                raise ValueError
            return value
        return number

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="FILE", help="the model's tokenizer.json")
    parser.add_argument("--data", nargs="+", required=True, metavar="FILE",
                        help="C4 as distributed (.json.gz), .jsonl, .json or .txt; files or patterns")
    parser.add_argument("--output", type=Path, required=True, metavar="IDS.npy", help="the file to write")
    parser.add_argument("--samples", type=at_least(1), default=128, metavar="N", help="windows (default %(default)s)")
    parser.add_argument("--length", type=at_least(1), default=2048, metavar="N",
                        help="tokens of a window (default %(default)s)")
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="default %(default)s")
    parser.add_argument("--pack", action="store_true", help="lay documents end to end instead of drawing long ones")
    parser.add_argument("--force", action="store_true", help="replace IDS.npy if it is there")
    options = parser.parse_args(arguments)
    if options.output.suffix != ".npy":
        parser.error(f"argument --output: {options.output} must end in .npy")
    return options


def run(options: argparse.Namespace) -> None:
    if not options.output.parent.is_dir():
        raise Failure(f"--output {options.output}: the folder {options.output.parent} is not there")
    if options.output.exists() and not options.force:
        raise Failure(f"--output {options.output}: is there already; use --force to replace it")
    files = expand(options.data)
    corpus = Corpus(files, load_tokenizer(options.tokenizer))
    random.seed(options.seed)
    make = pack_windows if options.pack else draw_windows
    write_whole(options.output, make(corpus, options.samples, options.length), options.samples, options.length)
    print(f"{options.output}: {options.samples} windows of {options.length} tokens from {len(corpus)} documents; "
          f"kvcalib calibrate --data {options.output} --samples {options.samples} --length {options.length}")


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
