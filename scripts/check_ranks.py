#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several ranks of one machine: the same bytes on any number of them, and none left behind when one is killed.

usage: check_ranks.py [--program build-ci/kvcalib] [--device gpu|cpu] [--ranks 1,2,4] [--work DIR]

Models of 96M parameters with random weights, cut for 8 ranks and for 1, as fp16 and as bf16. Statistics and scale
files must be the same on every number of ranks, also when the ranks are started one by one with RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT, and by torchrun. A rank that is killed must end the run within ten seconds, named, with
nothing written, and so must one that is stopped; a GPU without memory must be refused with what is needed and what
it has; NVLink multicast must not be used. Prints a table; exit code 1 when something is off.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from benchmark.checks import Checks, check_parser, random_weights, run_checks
from benchmark.session import report, results
from benchmark.shapes import Failure

SECONDS_TO_END = 10
# What takes several seconds a layer or in all, so that a rank can be killed within.
LONG_RUN = {"cpu": ("llama-96m", 8, 80), "gpu": ("llama-2-7b", 2, 2000)}  # preset, distinct layers, windows


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


class RankChecks(Checks):
    def __init__(self, options: argparse.Namespace, work: Path):
        super().__init__(options, work)
        self.device, self.ranks, self.windows = options.device, options.ranks, options.windows

    def devices(self, ranks: int) -> str:
        return f"{self.device}:{ranks}"

    def start(self, command: list[str], **environment: str) -> subprocess.Popen:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=os.environ | environment)

    def finish(self, *processes: subprocess.Popen) -> None:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            if process.returncode:
                raise Failure(f"{' '.join(process.args)}: exit code {process.returncode}: {errors.strip()}")

    def on_any_number(self, name: str, weights: Path, ids: Path) -> dict[str, bytes]:
        found = {}
        for ranks in self.ranks:
            output = self.output()
            self.finish(self.start(self.words(weights, ids, output, self.devices(ranks))))
            found[ranks] = results(output)
        first = found[self.ranks[0]]
        for ranks in self.ranks[1:]:
            self.same_bytes(f"{name}: {ranks} ranks beside {self.ranks[0]}", bool(first) and found[ranks] == first)
        return first

    def start_one_by_one(self, weights: Path, ids: Path, output: Path) -> list[subprocess.Popen]:
        world, port = self.ranks[-1], str(free_port())
        command = self.words(weights, ids, output, self.device)
        return [self.start(command, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1",
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
        self.same_bytes(f"{world} ranks started one by one", results(output) == expected)
        if self.device == "gpu":
            self.interconnect(output)
        output = self.output()
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--no-python", f"--nproc-per-node={world}",
                    f"--master-port={free_port()}"]
        self.finish(self.start(torchrun + self.words(weights, ids, output, self.device)))
        self.same_bytes(f"{world} ranks of torchrun", results(output) == expected)

    def await_first_layer(self, process: subprocess.Popen) -> None:
        """Reads the progress of a run until it computes."""
        told = ""
        while line := process.stderr.readline():
            if line.startswith("layer 1 "):
                return
            told += line
        raise Failure(f"a run that was to be killed ended before its first layer: {told}")

    def struck(self, weights: Path, ids: Path, name: str, number: signal.Signals, limit: float, *words: str) -> None:
        """One of the ranks that the program started gets a signal."""
        world, output = self.ranks[-1], self.output()
        process = self.start(self.words(weights, ids, output, self.devices(world)))
        self.await_first_layer(process)
        victims = children(process.pid)
        if len(victims) < world:
            raise Failure(f"expected {world} ranks to strike one of, found {len(victims)}")
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
        command = [*self.words(weights, ids, output, self.devices(world)), "--quiet"]
        needed = report(*command, "--dry-run", "--json")["memory_bytes_per_device"]
        last = world - 1
        held = torch.empty(torch.cuda.mem_get_info(last)[0] - needed, dtype=torch.uint8, device=f"cuda:{last}")
        process = self.start(command)
        _, errors = process.communicate(timeout=120)
        del held
        torch.cuda.empty_cache()
        holds = process.returncode == 1 and f"cuda:{last}: " in errors and "are needed" in errors \
            and "are free" in errors and not output.exists()
        self.row("a GPU without memory", f"exit code {process.returncode}: {' '.join(errors.split())[:240]}", holds)

    def run_all(self) -> None:
        for weight_type in ("fp16", "bf16"):
            for tp in (8, 1):
                weights, ids = self.weights("llama-96m", weight_type, tp, self.windows, 8)
                expected = self.on_any_number(f"cut for {tp}, {weight_type}", weights, ids)
        self.launched(weights, ids, expected)
        name, distinct, windows = LONG_RUN[self.device]
        weights, ids = self.weights(name, "fp16", 2, windows, distinct)
        self.struck(weights, ids, "a rank killed", signal.SIGKILL, SECONDS_TO_END, "signal 9")
        self.struck(weights, ids, "a rank stopped", signal.SIGSTOP, SECONDS_TO_END, "has not been heard of")
        self.killed_alone(weights, ids)
        if self.device == "gpu":
            self.short_of_memory(weights, ids)

    def weights(self, preset: str, weight_type: str, tp: int, windows: int, distinct: int) -> tuple[Path, Path]:
        return random_weights(self.work, preset, weight_type, tp, windows, 512, "--distinct-layers", distinct)


def main() -> int:
    parser = check_parser(__doc__)
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--ranks", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2, 4])
    parser.add_argument("--windows", type=int, default=40, help="of 512 tokens, for the runs that are compared")
    return run_checks(RankChecks, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
