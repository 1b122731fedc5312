# SPDX-License-Identifier: Apache-2.0
"""What check_ranks.py and check_gpu_ranges.py share: a table of what holds, output folders, weights of presets."""

import json
import shutil
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

from benchmark.session import RAM_DISK, ROOT, SCRIPTS, run
from benchmark.shapes import Failure


class Checks:
    """Checks of a program: each is a row of the table that is printed as they are made."""

    def __init__(self, options: Namespace, work: Path):
        self.program, self.work = options.program.resolve(), work
        self.failed, self._outputs = False, 0
        print("| check | found | holds |\n|---|---|---|", flush=True)

    def row(self, name: str, found: str, holds: bool) -> None:
        self.failed |= not holds
        print(f"| {name} | {found} | {'yes' if holds else 'NO'} |", flush=True)

    def same_bytes(self, name: str, same: bool) -> None:
        self.row(name, "same bytes" if same else "differs", same)

    def output(self) -> Path:
        """A folder for results that is not there yet."""
        self._outputs += 1
        return self.work / f"output-{self._outputs}"

    def words(self, weights: Path, data: Path, output: Path, devices: str) -> list[str]:
        return [str(word) for word in (self.program, "calibrate", "--weights", weights, "--data", data, "--output", output,
                                       "--devices", devices)]


def check_parser(description: str) -> ArgumentParser:
    parser = ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--program", type=Path, default=ROOT / "build-ci/kvcalib")
    parser.add_argument("--work", type=Path, help="where the weights go while it runs (default: the RAM disk where it "
                                                  "has room, else the system's choice)")
    return parser


def run_checks(kind: type, options: Namespace) -> int:
    """Runs `kind(options, folder).run_all()`; returns the exit code."""
    work = options.work
    if not work and RAM_DISK.is_dir() and shutil.disk_usage(RAM_DISK).free > 8e9:
        work = RAM_DISK
    with tempfile.TemporaryDirectory(dir=work, prefix="kvcalib-check-") as folder:
        checks = kind(options, Path(folder))
        try:
            checks.run_all()
        except Failure as failure:
            print(f"{Path(sys.argv[0]).name}: error: {failure}", file=sys.stderr)
            return 1
    return int(checks.failed)


def random_weights(work: Path, preset: str, weight_type: str, tp: int, windows: int, length: int,
                   *arguments) -> tuple[Path, Path]:
    """Random weights of a preset, cut for `tp` ranks, and token windows for them."""
    name = f"{preset}-{weight_type}-{tp}-{windows}"
    config, weights, ids = work / f"{name}.json", work / name, work / f"{name}.npy"
    config.write_text(json.dumps(json.loads((ROOT / f"configs/{preset}.json").read_text()) | {"weight_type": weight_type}))
    run(sys.executable, SCRIPTS / "make_checkpoint.py", "--config", config, "--tp", tp, "--output", weights, "--ids", ids,
        "--windows", windows, "--length", length, *arguments)
    return weights, ids
