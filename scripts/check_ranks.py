#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several ranks of one machine: the same bytes on any number of them, and none left behind when one is killed.

usage: check_ranks.py [--program build-ci/kvcalib] [--device gpu|cpu] [--ranks 1,2,4] [--work DIR]

Models of 96M parameters with random weights, cut for 8 ranks and for 1, as fp16 and as bf16. Statistics and scale
files must be the same on every number of ranks, also when the ranks are started one by one with RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT, and by torchrun. A rank that is killed must end the run within ten seconds, named, with
nothing written. Prints a table; exit code 1 when something is off.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS_TO_END = 10


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


class Check:
    def __init__(self, options: argparse.Namespace, work: Path):
        self.program, self.device, self.work = options.program.resolve(), options.device, work
        self.ranks = options.ranks
        self.failed, self.count = False, 0

    def row(self, name: str, found: str, holds: bool) -> None:
        self.failed |= not holds
        print(f"| {name} | {found} | {'yes' if holds else 'NO'} |", flush=True)

    def output(self) -> Path:
        self.count += 1
        return self.work / f"output-{self.count}"

    def words(self, weights: Path, ids: Path, output: Path, ranks: int | None) -> list[str]:
        devices = self.device if ranks is None else f"{self.device}:{ranks}"
        return [str(word) for word in (self.program, "calibrate", "--weights", weights, "--data", ids, "--output", output,
                                       "--devices", devices, "--quiet")]

    def bytes_of(self, output: Path) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in output.iterdir()
                if "past_kv_scale" in file.name or file.name == "kv_stats.safetensors"}

    def run(self, command: list[str], **environment: str) -> subprocess.Popen:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=os.environ | environment)

    def finish(self, *processes: subprocess.Popen) -> None:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            if process.returncode:
                raise SystemExit(f"{' '.join(process.args)}: exit code {process.returncode}: {errors.strip()}")

    def same_bytes(self, name: str, weights: Path, ids: Path) -> dict[str, bytes]:
        results = {}
        for ranks in self.ranks:
            output = self.output()
            self.finish(self.run(self.words(weights, ids, output, ranks)))
            results[ranks] = self.bytes_of(output)
        first = results[self.ranks[0]]
        for ranks in self.ranks[1:]:
            same = bool(first) and results[ranks] == first
            self.row(f"{name}: {ranks} ranks beside {self.ranks[0]}", "same bytes" if same else "differs", same)
        return first

    def launched(self, weights: Path, ids: Path, expected: dict[str, bytes]) -> None:
        world = self.ranks[-1]
        output, port = self.output(), str(free_port())
        self.finish(*(self.run(self.words(weights, ids, output, None), RANK=str(rank), LOCAL_RANK=str(rank),
                               WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
                      for rank in range(world)))
        same = self.bytes_of(output) == expected
        self.row(f"{world} ranks started one by one", "same bytes" if same else "differs", same)
        output = self.output()
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--no-python", f"--nproc-per-node={world}",
                    f"--master-port={free_port()}"]
        self.finish(self.run(torchrun + self.words(weights, ids, output, None)))
        same = self.bytes_of(output) == expected
        self.row(f"{world} ranks of torchrun", "same bytes" if same else "differs", same)

    def killed(self, weights: Path, ids: Path) -> None:
        world, output = self.ranks[-1], self.output()
        process = self.run(self.words(weights, ids, output, world))
        deadline = time.monotonic() + 60
        while len(children(process.pid)) < world and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        time.sleep(1.5)  # into the run
        victims = children(process.pid)
        if len(victims) < world:
            raise SystemExit(f"expected {world} ranks to kill one of, found {len(victims)}")
        os.kill(victims[-1], signal.SIGKILL)
        started = time.monotonic()
        _, errors = process.communicate(timeout=120)
        took = time.monotonic() - started
        holds = process.returncode == 1 and took < SECONDS_TO_END and "rank" in errors and "signal 9" in errors \
            and not output.exists()
        self.row("a rank killed", f"ended after {took:.1f} s with {process.returncode}: "
                                  f"{' '.join(errors.split())[:160]}", holds)


def make_weights(work: Path, weight_type: str, tp: int, windows: int) -> tuple[Path, Path]:
    config, ids = work / f"{weight_type}.json", work / f"{weight_type}-{tp}-{windows}.npy"
    preset = json.loads((ROOT / "configs/llama-96m.json").read_text())
    config.write_text(json.dumps(preset | {"weight_type": weight_type}))
    weights = work / f"{weight_type}-{tp}-{windows}"
    subprocess.run([sys.executable, ROOT / "scripts/make_checkpoint.py", "--config", config, "--tp", str(tp), "--output",
                    weights, "--ids", ids, "--windows", str(windows), "--length", "512"], check=True,
                   stdout=subprocess.DEVNULL)
    return weights, ids


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", type=Path, default=ROOT / "build-ci/kvcalib")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--ranks", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2, 4])
    parser.add_argument("--windows", type=int, default=40, help="of 512 tokens, for the runs that are compared")
    parser.add_argument("--work", type=Path, help="where the weights go while it runs (default: the system's choice)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.work, prefix="kvcalib-ranks-"))
    try:
        check = Check(options, folder)
        print("| check | found | holds |\n|---|---|---|", flush=True)
        for weight_type in ("fp16", "bf16"):
            for tp in (8, 1):
                weights, ids = make_weights(folder, weight_type, tp, options.windows)
                expected = check.same_bytes(f"cut for {tp}, {weight_type}", weights, ids)
        check.launched(weights, ids, expected)
        check.killed(*make_weights(folder, "fp16", 2, 100 * options.windows))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return int(check.failed)


if __name__ == "__main__":
    sys.exit(main())
