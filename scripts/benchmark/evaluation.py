# SPDX-License-Identifier: Apache-2.0
"""Runs `kvcalib evaluate` for the rows of bench.py, and what one run cost. Its results do not depend on the clock, so
times come from its trace, and the bytes and the memory that it took from the system."""

import json
import os
import struct
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmark.session import Session, check_exit
from benchmark.shapes import GIGABYTE, Failure, say

STEPS = (0.05, 0.06)  # of K and V of each int8 stream; random weights make both span about ten units


@dataclass(frozen=True)
class Evaluation:
    seconds: float  # of the whole process
    scored_seconds: float  # from the beginning of the first layer to the end of the head, all groups of texts
    passes_seconds: float  # the same and, of each group, embedding and the first reading
    memory: dict  # peak_device_bytes and planned_device_bytes, where the program tells them
    read_bytes: int | None  # by all its read calls; None where the system does not count them
    peak_host_bytes: int  # at least this process's own peak, which the system counts in

    def details(self) -> dict:
        return asdict(self)


def write_scales(session: Session, layers: int) -> list[Path]:
    """Scale files of one rank for two int8 streams: a step for the whole model, as values do not change the time."""
    folders = []
    for number, step in enumerate(STEPS):
        folder = session.folder / f"int8-{number + 1}-{layers}"
        folder.mkdir(exist_ok=True)
        for layer in range(layers):
            (folder / f"layers.{layer}.past_kv_scale.0.weight").write_bytes(struct.pack("<4f", step, 0, step, 0))
        folders.append(folder)
    return folders


def evaluate(session: Session, weights: Path, scales: list[Path], *arguments) -> Evaluation:
    trace = session.folder / "evaluation-trace.json"
    trace.unlink(missing_ok=True)
    streams = [word for folder in scales for word in ("--scales", folder)]
    cost = run_and_watch(session.program("kvcalib"), "evaluate", "--weights", weights, *streams, "--devices",
                         session.devices(), "--quiet", "--json", "--trace", trace, *arguments)
    found = Evaluation(**cost, **read_trace(trace))
    say(f"kvcalib: {len(scales) + 1} streams: layers and head {found.scored_seconds:.2f} s, process "
        f"{found.seconds:.2f} s, peak {found.peak_host_bytes / GIGABYTE:.2f} GB")
    return found


def run_and_watch(*command) -> dict:
    """Runs a program to its end: its seconds, the bytes that it read, and its peak memory."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        with subprocess.Popen(words, stdout=out, stderr=err, stdin=subprocess.DEVNULL) as process:
            try:
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its counts are there until it is waited for
                seconds, read_bytes = time.perf_counter() - started, bytes_read(process.pid)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            except BaseException:
                process.kill()
                raise
        texts = [(file.seek(0), file.read())[1] for file in (out, err)]
    check_exit(words, process.returncode, *texts)
    return {"seconds": seconds, "read_bytes": read_bytes, "peak_host_bytes": usage.ru_maxrss * 1024}


def bytes_read(process: int) -> int | None:
    try:
        facts = Path(f"/proc/{process}/io").read_text().splitlines()
    except OSError:
        return None
    return next((int(fact.split()[1]) for fact in facts if fact.startswith("rchar:")), None)


def read_trace(trace: Path) -> dict:
    """Each group of texts is an embedding, its layers, and its head and scores, on the first rank's track."""
    events = [event for event in json.loads(trace.read_text())["traceEvents"] if event.get("pid") == 0]

    def spans(name: str) -> list[tuple[float, float]]:
        found = [event for event in events if event["ph"] == "X" and event["name"] == name]
        return sorted((event["ts"] / 1e6, (event["ts"] + event["dur"]) / 1e6) for event in found)

    embeddings, layers, heads = spans("embedding"), spans("layer"), spans("head and scores")
    if not heads or not layers or len(embeddings) != len(heads):
        raise Failure(f"{trace.name}: has {len(embeddings)} events named embedding, {len(layers)} named layer, "
                      f"{len(heads)} named head and scores; kvcalib and this script are of different versions")
    scored = passes = 0.0
    for (begin, _), (_, end) in zip(embeddings, heads):
        scored += end - min(first for first, _ in layers if first >= begin)
        passes += end - begin
    memory = [event["args"] for event in events if event["name"] == "memory"]
    return {"scored_seconds": scored, "passes_seconds": passes, "memory": memory[-1] if memory else {}}
