# SPDX-License-Identifier: Apache-2.0
"""What the rows of bench.py work with: programs that are run, folders that disappear, weights, and token windows."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark.shapes import GIGABYTE, Failure, Shape, say

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = ROOT / "scripts"
RAM_DISK = Path("/dev/shm")
PROGRAMS = ("kvcalib", "bench_engine", "bench_empty_torch")


class Skip(Exception):
    """This machine cannot measure a row: what it lacks."""


@dataclass(frozen=True)
class Finished:
    seconds: float
    out: str
    code: int


@dataclass(frozen=True)
class Calibration:
    seconds: float  # of the whole process
    cost: dict  # as summary.json has it
    output: Path


@dataclass(frozen=True)
class TaskSource:
    """Where the tasks of a row come from, and who else scores them."""

    data: Path  # the data sets' folder, as make_tasks.py takes it
    model: Path  # a Hugging Face model with a tokenizer.model
    items: int | None  # of each task; 0: all; None: as the row likes
    harness: Path  # a Python interpreter that has lm-evaluation-harness, or has not


def run(*command, allowed: tuple = (0,)) -> Finished:
    """Runs a program to its end; its last words when it ends with another exit code."""
    words = [str(word) for word in command]
    started = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    check_exit(words, done.returncode, done.stdout, done.stderr, allowed)
    return Finished(seconds, done.stdout, done.returncode)


def check_exit(words: list[str], code: int, out: str, err: str, allowed: tuple = (0,)) -> None:
    if code not in allowed:
        last = (err.strip() or out.strip() or "no message").splitlines()[-1]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        program = next((Path(word).name for word in words if word != sys.executable), words[0])
        raise Failure(f"{program}: {how}: {last}")


def report(*command) -> dict:
    return json.loads(run(*command).out)


def script(name: str, *arguments) -> dict:
    return report(sys.executable, SCRIPTS / name, *arguments)


def available_memory() -> int:
    """Bytes that programs and RAM disk can still have."""
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(facts["MemAvailable"].split()[0]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(available, int(text)) if text != "max" else available


def is_ram_disk(folder: Path) -> bool:
    return run("stat", "-f", "-c", "%T", folder).out.strip() in ("tmpfs", "ramfs")


def gigabytes(count: float) -> str:
    return f"{count / GIGABYTE:.1f} GB"


def write_ids(file: Path, windows: int, length: int, vocab: int) -> None:
    """Random token windows as a .npy of int32."""
    generator = random.Random(0)
    ids = array("i", (generator.randrange(vocab) for _ in range(windows * length)))
    header = f"{{'descr': '<i4', 'fortran_order': False, 'shape': ({windows}, {length}), }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    file.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + ids.tobytes())


def results(output: Path) -> dict[str, bytes]:
    """The files of a calibration that do not depend on how it was run."""
    return {file.name: file.read_bytes() for file in output.iterdir()
            if "past_kv_scale" in file.name or file.name == "kv_stats.safetensors"}


def weights_bytes(shape: Shape, distinct: int) -> int:
    """What make_checkpoint.py writes, small vectors left out."""
    products = shape.products()
    layer = sum(rows * columns for name, (rows, columns) in products.items() if name != "kv")
    return 2 * (distinct * layer + 2 * shape.vocab * shape.hidden)


class Session:
    """A run of the benchmark: its options, what it measured once for several rows, and its folders."""

    def __init__(self, build: Path, device: str, gpus: int, quick: bool, work: Path, weights: Path | None,
                 tasks: TaskSource):
        self.build, self.device, self.gpus, self.quick, self.work = build, device, gpus, quick, work
        self.weights, self.tasks = weights, tasks
        self.floors: dict[str, str] = {}
        self._stack, self._known = ExitStack(), {}

    def __enter__(self):
        self.folder = self._stack.enter_context(self._temporary(self.work))  # for small files
        return self

    def __exit__(self, *failure):
        return self._stack.__exit__(*failure)

    @property
    def on_gpu(self) -> bool:
        return self.device == "gpu"

    @property
    def torch_device(self) -> str:
        return "cuda" if self.on_gpu else "cpu"

    @property
    def repeat(self) -> int:
        return 1 if self.quick else 2 if self.on_gpu else 3

    def program(self, name: str) -> Path:
        return self.build / name

    def once(self, measure):
        """What `measure(session)` returned when it was first called here."""
        if measure not in self._known:
            self._known[measure] = measure(self)
        return self._known[measure]

    def keep(self, context):
        """Enters a context that lasts as long as the session."""
        return self._stack.enter_context(context)

    def devices(self, gpus: int = 1) -> str:
        return f"gpu:{gpus}" if self.on_gpu else "cpu"

    def ids(self, windows: int, length: int, vocab: int) -> Path:
        file = self.folder / f"ids-{windows}-{length}-{vocab}.npy"
        if not file.exists():
            write_ids(file, windows, length, vocab)
        return file

    def calibrate(self, weights: Path, *arguments, gpus: int = 1) -> Calibration:
        output = self.folder / "output"
        done = run(self.program("kvcalib"), "calibrate", "--weights", weights, "--output", output, "--force", "--quiet",
                   "--devices", self.devices(gpus), *arguments)
        cost = json.loads((output / "summary.json").read_text())["cost"]
        say(f"kvcalib: layers {cost['layer_seconds']:.2f} s, process {done.seconds:.2f} s")
        return Calibration(done.seconds, cost, output)

    def plan(self, weights: Path, windows: int, length: int, gpus: int = 1) -> dict:
        """What --dry-run says of a directory or a preset."""
        return report(self.program("kvcalib"), "calibrate", "--dry-run", "--json", "--weights", weights, "--samples",
                      windows, "--length", length, "--devices", self.devices(gpus))

    @contextmanager
    def checkpoint(self, preset: Path, shape: Shape, distinct: int, layers: int, memory: int = 0, disk: bool = False):
        """Random weights, on the RAM disk if there is room beside the memory that programs need, else on the disk."""
        needed = weights_bytes(shape, distinct)
        with self._temporary(self._place(needed, memory, disk)) as folder:
            run(sys.executable, SCRIPTS / "make_checkpoint.py", "--config", preset, "--output", folder / "weights",
                "--layers", layers, "--distinct-layers", distinct)
            yield folder / "weights"

    def _place(self, needed: int, memory: int, disk: bool) -> Path:
        if disk and is_ram_disk(self.work):
            raise Skip(f"{self.work} is a RAM disk, which has no page cache; name a folder on a disk by --work")
        free_memory, margin = available_memory(), needed // 50
        if memory > free_memory:
            raise Skip(f"{gigabytes(memory)} of memory are needed, {gigabytes(free_memory)} free")
        if not disk and RAM_DISK.is_dir():
            if shutil.disk_usage(RAM_DISK).free > needed + margin and free_memory > needed + margin + memory:
                return RAM_DISK
        free = shutil.disk_usage(self.work).free
        if free < needed + margin or is_ram_disk(self.work) and free_memory < needed + margin + memory:
            raise Skip(f"{gigabytes(needed)} for weights and {gigabytes(memory)} of memory are needed; {self.work} has "
                       f"{gigabytes(free)}, memory {gigabytes(free_memory)}; name a folder with more by --work")
        return self.work

    @contextmanager
    def _temporary(self, place: Path):
        folder = Path(tempfile.mkdtemp(prefix="kvcalib-bench-", dir=place))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def missing_programs(build: Path) -> list[str]:
    return [name for name in PROGRAMS if not os.access(build / name, os.X_OK)]
