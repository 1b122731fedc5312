# SPDX-License-Identifier: Apache-2.0
"""The rows of bench.py for `kvcalib evaluate` on tasks: two streams of it beside lm-evaluation-harness, which scores
the same texts under one, and what is spent on anything but the model."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmark.evaluation import Evaluation, evaluate, write_scales
from benchmark.session import SCRIPTS, Session, Skip, report, run
from benchmark.shapes import say
from benchmark.table import Goal, Row, seconds

NAME = "evaluate-tasks"
ITEMS = (200, 10)  # of each task; with --quick
HARNESS_BATCH = 1  # lm-evaluation-harness's own default


@dataclass(frozen=True)
class Turn:
    own: Evaluation
    start_seconds: float  # of an empty LibTorch program
    harness: dict | None


def limit_of(session: Session) -> list:
    items = ITEMS[session.quick] if session.tasks.items is None else session.tasks.items
    return ["--limit", items] if items else []


def make_files(session: Session) -> list[Path]:
    """The rows that compare perplexities, of the data sets that are there."""
    tasks, folder = session.tasks, session.folder / "tasks"
    for place, name in ((tasks.data, "--tasks-data"), (tasks.model / "tokenizer.model", "--tasks-model")):
        if not place.exists():
            raise Skip(f"{place} is not there; name another by {name}")
    run(sys.executable, SCRIPTS / "make_tasks.py", "--data", tasks.data, "--output", folder, *limit_of(session))
    return [file for file in sorted(folder.glob("*.jsonl")) if header_of(file)["rule"].startswith("ppl")]


def header_of(file: Path) -> dict:
    with file.open(encoding="utf-8") as lines:
        return json.loads(next(lines))


def has_harness(python: Path) -> bool:
    found = run(python, "-c", "import importlib.util as u; print(bool(u.find_spec('lm_eval')))")
    return found.out.strip() == "True"


def measure_turn(session: Session, files: list[Path], scales: list[Path], with_harness: bool) -> Turn:
    tasks = session.tasks
    own = evaluate(session, tasks.model, scales[:1], "--tasks", *files)
    start = run(session.program("bench_empty_torch")).seconds
    if not with_harness:
        return Turn(own, start, None)
    other = report(tasks.harness, SCRIPTS / "bench_tasks_hf.py", "--hf", tasks.model, "--tasks", *files, "--device",
                   session.torch_device, "--batch", f"{HARNESS_BATCH},16" + ("" if session.quick else ",64"))
    say(f"lm-evaluation-harness: {other['seconds']:.2f} s")
    return Turn(own, start, other)


def tasks(session: Session) -> list[Row]:
    files = make_files(session)
    shape = json.loads((session.tasks.model / "config.json").read_text())
    scales, with_harness = write_scales(session, shape["num_hidden_layers"]), has_harness(session.tasks.harness)
    turns = [measure_turn(session, files, scales, with_harness) for _ in range(session.repeat)]
    text = f"{session.tasks.model.name}, {len(files)} tasks, {(limit_of(session) or ['', 'all'])[1]} items of each"
    rows = beside_harness(turns, text)
    return rows if session.on_gpu else [*rows, beside_model(turns, text)]  # a GPU takes a time of its own to start


def beside_harness(turns: list[Turn], text: str) -> list[Row]:
    """As it comes, and with the batch size that is best for it."""
    own = median(turn.own.seconds for turn in turns)
    what = f"whole process, two streams, {text}"
    details = {"evaluations": [turn.own.details() for turn in turns], "others": [turn.harness for turn in turns]}
    if not turns[0].harness:
        return [Row(NAME, what, measured=seconds(own), details=details,
                    skipped="lm-evaluation-harness is not installed; name a Python that has it by --tasks-harness")]
    as_it_comes = median(seconds_of_batch(turn.harness, HARNESS_BATCH) for turn in turns)
    best, size = median(turn.harness["seconds"] for turn in turns), turns[0].harness["best_batch"]
    harness = "lm-evaluation-harness, one stream, import and load left out"
    return [Row(NAME, what, Goal(5, "x", at_least=True), as_it_comes / own, seconds(own),
                f"{harness}, its default batch of {HARNESS_BATCH}, {seconds(as_it_comes)}", details=details),
            Row(NAME, what, Goal(1, "x", at_least=True), best / own, seconds(own),
                f"{harness}, its best batch, {size}, {seconds(best)}")]


def seconds_of_batch(harness: dict, size: int) -> float:
    return next(batch["median_seconds"] for batch in harness["batches"] if batch["batch"] == size)


def beside_model(turns: list[Turn], text: str) -> Row:
    """All but the passes through the model and what any program needs to start: tokens, trees, statistics, report."""
    total = median(turn.own.seconds for turn in turns)
    start = median(turn.start_seconds for turn in turns)
    rest = median(turn.own.seconds - turn.own.passes_seconds - turn.start_seconds for turn in turns)
    return Row(NAME, f"tokenising, statistics and report, {text}", Goal(2, "%"), 100 * rest / total, seconds(rest),
               f"the process {seconds(total)}, an empty LibTorch program {seconds(start)}",
               details={"passes_seconds": [turn.own.passes_seconds for turn in turns]})
