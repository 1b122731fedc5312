#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what kvcalib costs on this machine, beside what it cannot go below and what it is compared with: bench.json
and bench.md. Rows are on the GPU if there is one, else on the CPU.

A goal that is missed is shown and is no error; a row that fails is one, and the exit code is 1. Weights are random,
in /dev/shm when it has room, and gone at the end.
"""

import argparse
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmark.rows import ROWS
from benchmark.session import (PROGRAMS, ROOT, SCRIPTS, Session, Skip, TaskSource, gigabytes,
                               missing_programs, run)
from benchmark.table import Row, markdown
from benchmark.shapes import Failure, say
from benchmark.task_rows import ITEMS

QUICK_NOTE = "quick: fewer windows, layers and turns; the goals are meant for a full run"


def gpu_names() -> list[str]:
    try:
        listed = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True,
                                text=True, stdin=subprocess.DEVNULL)
    except OSError:
        return []
    return listed.stdout.split("\n")[:-1] if listed.returncode == 0 else []


def cpu_name() -> str:
    facts = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in facts if line.startswith("model name")]
    memory = gigabytes(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} CPUs, {memory} of memory"


def facts(options: argparse.Namespace, gpus: list[str]) -> dict[str, str]:
    found = {"device": f"{len(gpus)} x {gpus[0]}" if options.device == "gpu" else cpu_name()}
    if options.device == "gpu":
        found["host"] = cpu_name()
    found["date"] = datetime.date.today().isoformat()
    found["program"] = run(options.build / "kvcalib", "--version").out.strip()
    if options.weights:
        found["weights"] = "given by --weights"
    return found | ({"note": QUICK_NOTE} if options.quick else {})


def measure(name: str, measure_rows, session: Session) -> list[Row]:
    """The rows of that name; one that tells why when there are none."""
    say(f"--- {name}")
    try:
        return measure_rows(session)
    except Skip as lacking:
        say(f"{name}: skipped: {lacking}")
        return [Row(name, "", skipped=str(lacking))]
    except (Failure, OSError, ValueError, KeyError) as failure:
        text = f"has no {failure}" if isinstance(failure, KeyError) else str(failure)
        say(f"{name}: failed: {text}")
        return [Row(name, "", failed=text)]


def write_results(folder: Path, known: dict[str, str], session: Session, rows: list[Row]) -> str:
    text = markdown(known, session.floors, rows)
    found = {**known, "floors": session.floors, "rows": [row.report() for row in rows]}
    (folder / "bench.json").write_text(json.dumps(found, indent=2) + "\n")
    (folder / "bench.md").write_text(text)
    return text


def build_programs(options: argparse.Namespace) -> None:
    if not missing_programs(options.build):
        return
    if options.build != ROOT / "build":
        missing = ", ".join(missing_programs(options.build))
        raise Failure(f"--build {options.build}: has no {missing}; build all targets there")
    say("building the release preset")
    subprocess.run([SCRIPTS / "build.sh", "release", "--target", *PROGRAMS], stdout=sys.stderr, check=True)


def run_rows(options: argparse.Namespace, gpus: list[str]) -> int:
    build_programs(options)
    options.output.mkdir(parents=True, exist_ok=True)
    known, rows = facts(options, gpus), []
    count = len(gpus) if options.device == "gpu" else 0
    tasks = TaskSource(options.tasks_data, options.tasks_model, options.tasks_items, options.tasks_harness)
    with Session(options.build, options.device, count, options.quick, options.work, options.weights, tasks) as session:
        for name in options.rows:
            rows += measure(name, ROWS[options.device][name], session)
            text = write_results(options.output, known, session, rows)
    print(text, end="")
    return 1 if any(row.failed for row in rows) else 0


def count(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return int(text)


def add_tasks(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the row evaluate-tasks")
    shared = Path(os.environ.get("KVCALIB_SHARED", ROOT.parent / "shared")) / "data"
    group.add_argument("--tasks-data", type=Path, default=shared / "eval", metavar="DIR",
                       help="the data sets, as make_tasks.py takes them; default data/eval in $KVCALIB_SHARED")
    group.add_argument("--tasks-model", type=Path, default=shared / "models/tiny-4m", metavar="DIR",
                       help="a Hugging Face model with tokenizer.model; default data/models/tiny-4m there")
    group.add_argument("--tasks-items", type=count, metavar="N", help="items of each task, 0: all; default "
                       f"{ITEMS[0]}, with --quick {ITEMS[1]}")
    group.add_argument("--tasks-harness", type=Path, default=Path(sys.executable), metavar="PYTHON",
                       help="an interpreter that has lm-evaluation-harness; default: the one that runs this")


def parse(arguments: list[str], gpus: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.sh", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {device: ", ".join(rows) for device, rows in ROWS.items()}
    parser.add_argument("--rows", metavar="NAME,...",
                        help=f"default: all. CPU: {names['cpu']}. GPU: {names['gpu']}")
    parser.add_argument("--quick", action="store_true", help="fewer windows, layers and turns")
    parser.add_argument("--output", type=Path, metavar="DIR",
                        help="where bench.json and bench.md go; default: the build folder")
    parser.add_argument("--device", choices=tuple(ROWS), default="gpu" if gpus else "cpu", help="default %(default)s")
    parser.add_argument("--weights", type=Path, metavar="DIR",
                        help="a model to measure instead of the 96M shape (CPU) or the 7B shape (GPU)")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), metavar="DIR",
                        help="a folder on a disk, for what has no room in /dev/shm; default %(default)s")
    parser.add_argument("--build", type=Path, default=ROOT / "build", metavar="DIR",
                        help="where the programs are; default build/, built if they are missing")
    add_tasks(parser)
    options = parser.parse_args(arguments)
    options.rows = options.rows.split(",") if options.rows else list(ROWS[options.device])
    for name in options.rows:
        if name not in ROWS[options.device]:
            parser.error(f"argument --rows: {name}: expected of {names[options.device]}")
    if options.device == "gpu" and not gpus:
        parser.error("argument --device: nvidia-smi lists no GPU here; use cpu")
    if not options.work.is_dir():
        parser.error(f"argument --work: {options.work} is not a folder")
    options.build = options.build.resolve()
    options.output = options.output or options.build
    return options


def main() -> int:
    gpus = gpu_names()
    options = parse(sys.argv[1:], gpus)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return run_rows(options, gpus)
    except (Failure, OSError, subprocess.CalledProcessError) as failure:
        say(f"bench.sh: error: {failure}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
