#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several ranks of one machine: the same bytes on any number of them, and none left behind when one is killed.

usage: check_ranks.py [--program build-ci/kvcalib] [--device gpu|cpu] [--ranks 1,2,4] [--work DIR]

Models of 96M parameters with random weights, cut for 8 ranks and for 1, as fp16 and as bf16. Statistics and scale
files must be the same on every number of ranks, also when the ranks are started one by one with RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT, and by torchrun. A rank that is killed must end the run within ten seconds, named, with
nothing written, one that is stopped within fifteen; a GPU without memory must be refused with what is needed and what
it has; NVLink multicast must not be used. Prints a table; exit code 1 when something is off.
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

from benchmark.session import RAM_DISK, ROOT, results

SECONDS_TO_END = 10
# What takes several seconds a layer or in all, so that a rank can be killed within.
LONG_RUN = {"cpu": ("llama-96m", 8, 80), "gpu": ("llama-2-7b", 2, 2000)}  # preset, distinct layers, windows


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
                                       "--devices", devices)]

    def run(self, command: list[str], **environment: str) -> subprocess.Popen:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=os.environ | environment)

    def finish(self, *processes: subprocess.Popen) -> None:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            if process.returncode:
                raise SystemExit(f"{' '.join(process.args)}: exit code {process.returncode}: {errors.strip()}")

    def same_bytes(self, name: str, weights: Path, ids: Path) -> dict[str, bytes]:
        found = {}
        for ranks in self.ranks:
            output = self.output()
            self.finish(self.run(self.words(weights, ids, output, ranks)))
            found[ranks] = results(output)
        first = found[self.ranks[0]]
        for ranks in self.ranks[1:]:
            same = bool(first) and found[ranks] == first
            self.row(f"{name}: {ranks} ranks beside {self.ranks[0]}", "same bytes" if same else "differs", same)
        return first

    def start_one_by_one(self, weights: Path, ids: Path, output: Path) -> list[subprocess.Popen]:
        world, port = self.ranks[-1], str(free_port())
        return [self.run(self.words(weights, ids, output, None), RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1",
                         MASTER_PORT=port) for rank in range(world)]

    def interconnect(self, output: Path) -> None:
        found = json.loads((output / "summary.json").read_text())["cost"]["interconnect"]
        used = [f"{graph['pattern']} of {graph['channels']} channels over {graph['link']}"
                for graph in found.get("topology", [])]
        holds = bool(used) and found.get("multicast_channels") == 0
        self.row("no NVLink multicast", f"{found['library']}: {', '.join(used)}; multicast channels: "
                                        f"{found.get('multicast_channels', 'unknown')}", holds)

    def launched(self, weights: Path, ids: Path, expected: dict[str, bytes]) -> None:
        world, output = self.ranks[-1], self.output()
        self.finish(*self.start_one_by_one(weights, ids, output))
        same = results(output) == expected
        self.row(f"{world} ranks started one by one", "same bytes" if same else "differs", same)
        if self.device == "gpu":
            self.interconnect(output)
        output = self.output()
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--no-python", f"--nproc-per-node={world}",
                    f"--master-port={free_port()}"]
        self.finish(self.run(torchrun + self.words(weights, ids, output, None)))
        same = results(output) == expected
        self.row(f"{world} ranks of torchrun", "same bytes" if same else "differs", same)

    def await_first_layer(self, process: subprocess.Popen) -> None:
        """Reads the progress of a run until it computes."""
        told = ""
        while line := process.stderr.readline():
            if line.startswith("layer 1 "):
                return
            told += line
        raise SystemExit(f"a run that was to be killed ended before its first layer: {told}")

    def struck(self, weights: Path, ids: Path, name: str, number: signal.Signals, limit: float, *words: str) -> None:
        """One of the ranks that the program started gets a signal."""
        world, output = self.ranks[-1], self.output()
        process = self.run(self.words(weights, ids, output, world))
        self.await_first_layer(process)
        victims = children(process.pid)
        if len(victims) < world:
            raise SystemExit(f"expected {world} ranks to strike one of, found {len(victims)}")
        os.kill(victims[-1], number)
        started = time.monotonic()
        _, errors = process.communicate(timeout=120)
        took = time.monotonic() - started
        holds = process.returncode == 1 and took < limit and all(word in errors for word in words) \
            and f"rank {world - 1} " in errors and not output.exists()
        self.row(name, f"ended after {took:.1f} s with {process.returncode}: {' '.join(errors.split())[:160]}", holds)

    def killed_alone(self, weights: Path, ids: Path) -> None:
        """Ranks that nobody watches over."""
        output = self.output()
        *others, victim = self.start_one_by_one(weights, ids, output)
        self.await_first_layer(others[0])
        victim.kill()
        started = time.monotonic()
        errors = " ".join(process.communicate(timeout=120)[1] for process in others)
        took = time.monotonic() - started
        codes = {process.returncode for process in others}
        holds = codes == {1} and took < SECONDS_TO_END and f"rank {len(others)} has not been heard of" in errors \
            and victim.wait() < 0 and not output.exists()
        self.row("a rank killed of those started one by one", f"the others ended after {took:.1f} s with {codes}: "
                                                              f"{' '.join(errors.split())[:200]}", holds)

    def short_of_memory(self, weights: Path, ids: Path) -> None:
        import torch
        world, output = self.ranks[-1], self.output()
        command = [*self.words(weights, ids, output, world), "--quiet"]
        needed = json.loads(subprocess.run([*command, "--dry-run", "--json"], check=True, capture_output=True,
                                           text=True).stdout)["memory_bytes_per_device"]
        last = world - 1
        held = torch.empty(torch.cuda.mem_get_info(last)[0] - needed, dtype=torch.uint8, device=f"cuda:{last}")
        process = self.run(command)
        _, errors = process.communicate(timeout=120)
        del held
        torch.cuda.empty_cache()
        holds = process.returncode == 1 and f"cuda:{last}: " in errors and "are needed" in errors \
            and "are free" in errors and not output.exists()
        self.row("a GPU without memory", f"exit code {process.returncode}: {' '.join(errors.split())[:240]}", holds)


def make_weights(work: Path, name: str, weight_type: str, tp: int, distinct: int, windows: int) -> tuple[Path, Path]:
    config, ids = work / f"{weight_type}.json", work / f"{weight_type}-{tp}-{windows}.npy"
    preset = json.loads((ROOT / f"configs/{name}.json").read_text())
    config.write_text(json.dumps(preset | {"weight_type": weight_type}))
    weights = work / f"{weight_type}-{tp}-{windows}"
    subprocess.run([sys.executable, ROOT / "scripts/make_checkpoint.py", "--config", config, "--tp", str(tp), "--output",
                    weights, "--ids", ids, "--windows", str(windows), "--length", "512", "--distinct-layers",
                    str(distinct)], check=True, stdout=subprocess.DEVNULL)
    return weights, ids


def default_work() -> Path | None:
    """The RAM disk where it has room, else what the system chooses."""
    return RAM_DISK if RAM_DISK.is_dir() and shutil.disk_usage(RAM_DISK).free > 8e9 else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", type=Path, default=ROOT / "build-ci/kvcalib")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--ranks", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2, 4])
    parser.add_argument("--windows", type=int, default=40, help="of 512 tokens, for the runs that are compared")
    parser.add_argument("--work", type=Path, default=default_work(),
                        help="where the weights go while it runs (default: /dev/shm where it has room)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.work, prefix="kvcalib-ranks-"))
    try:
        check = Check(options, folder)
        print("| check | found | holds |\n|---|---|---|", flush=True)
        for weight_type in ("fp16", "bf16"):
            for tp in (8, 1):
                weights, ids = make_weights(folder, "llama-96m", weight_type, tp, 8, options.windows)
                expected = check.same_bytes(f"cut for {tp}, {weight_type}", weights, ids)
        check.launched(weights, ids, expected)
        name, distinct, windows = LONG_RUN[options.device]
        weights, ids = make_weights(folder, name, "fp16", 2, distinct, windows)
        check.struck(weights, ids, "a rank killed", signal.SIGKILL, SECONDS_TO_END, "signal 9")
        check.struck(weights, ids, "a rank stopped", signal.SIGSTOP, 1.5 * SECONDS_TO_END, "has not been heard of")
        check.killed_alone(weights, ids)
        if options.device == "gpu":
            check.short_of_memory(weights, ids)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return int(check.failed)


if __name__ == "__main__":
    sys.exit(main())
