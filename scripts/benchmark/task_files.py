# SPDX-License-Identifier: Apache-2.0
"""Task files as scripts/make_tasks.py writes them, for the scripts that time others on them."""

import json
from pathlib import Path

from benchmark.shapes import Failure


def read_task(path: Path, limit: int | None, rules: tuple[str, ...], fault, expected: str) -> tuple[dict, list[dict]]:
    """A task file's header, of one of `rules`, and its first `limit` items; fault(header, items) says what is wrong."""
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
    try:
        header, *items = map(json.loads, lines[:None if limit is None else limit + 1])
        if header["format"] != "kvcalib-task" or header["rule"] not in rules or not items:
            raise ValueError("its header, rule or items are not a task file's")
        if wrong := fault(header, items):
            raise ValueError(wrong)
    except (ValueError, KeyError, TypeError) as failure:
        raise Failure(f"{path}: {failure}; expected {expected}") from None
    return header, items
