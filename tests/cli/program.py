# SPDX-License-Identifier: Apache-2.0
"""Runs kvcalib for the command-line tests, and looks at what it left on the disk."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

PROGRAM = Path(os.environ.get("KVCALIB", ROOT / "build/kvcalib")).resolve()
PRINT_RANGES = Path(os.environ.get("KVCALIB_PRINT_RANGES", PROGRAM.parent / "print_ranges")).resolve()
PRINT_ANSWERS = Path(os.environ.get("KVCALIB_PRINT_ANSWERS", PROGRAM.parent / "print_answers")).resolve()
STOP_AT_STEPS = Path(os.environ.get("KVCALIB_STOP_AT_STEPS", PROGRAM.parent / "libstop_at_steps.so")).resolve()
SHARED = Path(os.environ.get("KVCALIB_SHARED", ROOT.parent / "shared")) / "data"
TINY = ROOT / "configs/tiny-4m"
TINY_LAYERS, TINY_RANKS = 4, 2

_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID", "SLURM_LOCALID",
             "SLURM_NTASKS")


class Run(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without a launcher's ranks."""
    return {name: value for name, value in os.environ.items() if name not in _LAUNCHER} | changes


def run_program(program: Path, *arguments, timeout: float = 300, **variables: str) -> Run:
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, env=environment(**variables))
    return Run(done.returncode, done.stdout, done.stderr)


def kvcalib(*arguments, timeout: float = 300, **variables: str) -> Run:
    return run_program(PROGRAM, *arguments, timeout=timeout, **variables)


def start(*arguments, **variables: str) -> subprocess.Popen:
    """The program in the background, its output in pipes."""
    return subprocess.Popen([str(PROGRAM), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, stdin=subprocess.DEVNULL, env=environment(**variables))


def start_one_by_one(ranks: int, *arguments, only: int | None = None, **variables: str) -> list[subprocess.Popen]:
    """The program as ranks that find each other as a launcher's do, with nobody watching over them; or one of them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [start(*arguments, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1",
                  MASTER_PORT=str(port), **variables) for rank in range(ranks) if only in (None, rank)]


def start_stepped(folder: Path, *arguments) -> subprocess.Popen:
    """The program, stopping before each system call that changes something below `folder`."""
    return start(*arguments, LD_PRELOAD=str(STOP_AT_STEPS), KVCALIB_STOP_BELOW=str(folder))


def stops(process: subprocess.Popen) -> Iterator[int]:
    """The number of each stop, from 1, while the process is stopped there; it ends with the process."""
    number = 0
    while os.WIFSTOPPED(status := os.waitpid(process.pid, os.WUNTRACED)[1]):
        number += 1
        yield number
        os.kill(process.pid, signal.SIGCONT)
    process.returncode = os.waitstatus_to_exitcode(status)


def digests(directory: Path) -> dict[str, str]:
    """Every entry below a directory, with the SHA-256 of what is read there or the target of a link."""
    found = {}
    for entry in sorted(Path(directory).rglob("*")):
        name = str(entry.relative_to(directory))
        if entry.is_symlink():
            found[name] = "link to " + os.readlink(entry)
        elif entry.is_dir():
            found[name] = "folder"
        else:
            found[name] = hashlib.sha256(entry.read_bytes()).hexdigest()
    return found


def scales(directory: Path) -> dict[str, bytes]:
    """Name to bytes of the scale files in a directory, links followed."""
    return {file.name: file.read_bytes() for file in sorted(Path(directory).glob("layers.*.past_kv_scale.*.weight"))}


def config_values(directory: Path) -> dict[str, str]:
    lines = (Path(directory) / "config.ini").read_text().splitlines()
    return dict(map(str.strip, line.split("=", 1)) for line in lines if "=" in line)


def statistics(directory: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file
    return load_file(Path(directory) / "kv_stats.safetensors")


def shape_options(data) -> list:
    """--samples and --length of a file that holds the windows themselves; nothing for other files."""
    if not str(data).endswith(".npy") or not Path(data).exists():
        return []
    try:
        shape = np.load(data, mmap_mode="r").shape
    except (ValueError, EOFError):
        return []
    return ["--samples", shape[0], "--length", shape[1]] if len(shape) == 2 and all(shape) else []


class ProgramTest(unittest.TestCase):
    """A test with a scratch folder."""

    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        if not PROGRAM.exists():
            raise FileNotFoundError(f"{PROGRAM} is not there: build it, or name it in KVCALIB")

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="kvcalib-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def windows(self, seed: int = 0, count: int = 4, length: int = 64, vocab: int = 2048, name: str = "ids") -> Path:
        """A file of random token windows."""
        from reference.windows import random_windows
        file = self.folder / f"{name}-{seed}.npy"
        np.save(file, random_windows(seed, count, length, vocab))
        return file

    def tiny(self, name: str = "workspace") -> Path:
        """A copy of the embedded model that may be spoilt; returns its weights directory."""
        for part in ("weights", "tokenizer"):
            shutil.copytree(TINY / part, self.folder / name / part)
        return self.folder / name / "weights"

    def deep(self, layers: int, name: str = "workspace") -> Path:
        """As tiny(), with so many layers that a run is far from its end when the first is done."""
        weights = self.tiny(name)
        for layer in range(TINY_LAYERS, layers):
            for file in weights.glob(f"layers.{layer % TINY_LAYERS}.*"):
                os.link(file, weights / file.name.replace(f".{layer % TINY_LAYERS}.", f".{layer}.", 1))
        config = weights / "config.ini"
        config.write_text(config.read_text().replace(f"num_layer = {TINY_LAYERS}", f"num_layer = {layers}"))
        return weights

    def write(self, model, ranks: int = 1, name: str = "model", **options) -> Path:
        """A model written as a weights directory."""
        from reference.turbomind_writer import write_directory
        return write_directory(model, self.folder / name / "weights", ranks, **options)

    def succeed(self, *arguments, **options) -> Run:
        run = kvcalib(*arguments, **options)
        self.assertEqual(run.code, 0, f"{' '.join(map(str, arguments))}\n{run.err}")
        return run

    def calibrate(self, weights: Path, data: Path | list[Path], *arguments, name: str = "output", **options) -> Path:
        """A run that must succeed, into a new folder, which it returns."""
        output = self.folder / name
        files = data if isinstance(data, list) else [data]
        devices = () if "--devices" in arguments else ("--devices", "cpu")
        shape = [] if "--length" in arguments else shape_options(files[0])
        self.succeed("calibrate", "--weights", weights, "--data", *files, "--output", output, "--quiet", *devices,
                     *shape, *arguments, **options)
        return output

    @classmethod
    def calibrated(cls) -> Path:
        """The output of one calibration of the embedded model on windows(1), made once for a class: copy it."""
        if "_calibrated" not in cls.__dict__:
            test = cls()
            test.folder = Path(tempfile.mkdtemp(prefix="kvcalib-test-"))
            cls.addClassCleanup(shutil.rmtree, test.folder, ignore_errors=True)
            cls._calibrated = test.calibrate(TINY / "weights", test.windows(1))
        return cls._calibrated

    def assert_same_statistics(self, one: Path, other: Path):
        first, second = statistics(one), statistics(other)
        self.assertEqual(set(first), set(second))
        for name, tensor in first.items():
            self.assertEqual(tensor.shape, second[name].shape, name)
            self.assertEqual(tensor.tobytes(), second[name].tobytes(), f"{name} differs")

    def parse_json(self, text: str):
        try:
            return json.loads(text)
        except ValueError as failure:
            self.fail(f"not JSON ({failure}): {text[:500]!r}")
