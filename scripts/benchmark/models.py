# SPDX-License-Identifier: Apache-2.0
"""The rows of bench.py for models that are larger than the machine: two distinct layers stand for all."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from benchmark.session import ROOT, Calibration, Session, Skip, available_memory, gigabytes, run, script
from benchmark.table import Goal, Row, seconds
from benchmark.shapes import GIGABYTE, Shape, read_preset

DISTINCT = 2


@dataclass(frozen=True)
class LargeModel:
    preset: str
    windows: int
    length: int
    memory: float  # gigabytes that a run may hold at most, on its device


LARGE_MODELS = {
    "cpu": {"104b": LargeModel("internlm-104b", 1, 64, 14), "7b": LargeModel("llama-2-7b", 4, 256, 4)},
    "gpu": {"104b": LargeModel("internlm-104b", 128, 2048, 24)},
}


@dataclass(frozen=True)
class Floors:
    """What any run of the model needs, on one device."""

    gemm_seconds: float
    read_bytes: int
    read_rate: float  # bytes a second

    def seconds(self, gpus: int) -> float:
        return max(self.gemm_seconds / gpus, self.read_bytes / self.read_rate)

    def text(self, gpus: int) -> str:
        kind = "GEMMs and attention" if self.gemm_seconds / gpus >= self.read_bytes / self.read_rate else "reading"
        return f"{kind} alone {seconds(self.seconds(gpus))}"


@dataclass(frozen=True)
class Task:
    """A large model as it is measured here."""

    name: str
    model: LargeModel
    shape: Shape
    layers: int
    windows: int

    @property
    def text(self) -> str:
        cut = f", {self.layers} layers" if self.layers < self.shape.layers else ""
        return f"{self.shape.name}{cut}, {self.windows} x {self.model.length}"

    @property
    def preset(self) -> Path:
        return ROOT / "configs" / f"{self.model.preset}.json"


def large_models(name: str):
    return lambda session: measure(session, make_task(session, name))


def make_task(session: Session, name: str) -> Task:
    model = LARGE_MODELS[session.device][name]
    shape = read_preset(ROOT / "configs" / f"{model.preset}.json")
    if session.quick:
        return Task(name, model, shape, 4, min(16, model.windows))
    return Task(name, model, shape, shape.layers, model.windows)


def gemm_report(session: Session, task: Task) -> dict:
    """Before the weights are there: on a CPU both need memory."""
    if not session.on_gpu:
        products = task.shape.products().values()
        needed = 8 * sum(rows * columns for rows, columns in products) + int(GIGABYTE)  # fp32, in two layouts
        if needed > available_memory():
            raise Skip(f"{gigabytes(needed)} of memory are needed for the floor, {gigabytes(available_memory())} free")
    return script("bench_floor.py", "gemm", "--config", task.preset, "--windows", task.windows, "--length",
                  task.model.length, "--device", session.torch_device, "--repeat", session.repeat, "--seconds",
                  0.5 if session.quick else 3)


def read_rate(session: Session, weights: Path) -> float:
    threads = ",".join(str(count) for count in (1, 2, 4, 8, 16) if count <= (os.cpu_count() or 1))
    return script("bench_floor.py", "read", "--files", weights, "--threads", threads, "--repeat",
                  session.repeat)["gigabytes_per_second"] * GIGABYTE


def measure(session: Session, task: Task) -> list[Row]:
    plan = session.plan(task.preset, task.windows, task.model.length)
    gemm = gemm_report(session, task)
    host_memory = int(4 * GIGABYTE) * session.gpus if session.on_gpu else plan["memory_bytes_per_device"]
    with session.checkpoint(task.preset, task.shape, DISTINCT, task.layers, host_memory + int(GIGABYTE)) as weights:
        floors = Floors((task.layers - 1) * gemm["layer_seconds"] + gemm["kv_seconds"],
                        session.plan(weights, task.windows, task.model.length)["bytes_to_read"],
                        read_rate(session, weights))
        session.floors[f"GEMMs and attention, {task.shape.name}, {task.windows} x {task.model.length}"] = \
            f"{gemm['sustained_teraflops']:.3g} TFLOP/s, {gemm['dtype']}"
        session.floors[f"reading the files of {task.shape.name}"] = f"{floors.read_rate / GIGABYTE:.2f} GB/s"
        ids = session.ids(task.windows, task.model.length, task.shape.vocab)
        rows = []
        for gpus in [count for count in (1, 2, 4, 8) if count <= session.gpus] or [1]:
            done = session.calibrate(weights, "--data", ids, gpus=gpus)
            rows += rows_of_run(session, task, floors, done, gpus)
            if session.on_gpu:
                rows.append(plan_row(session, task, weights, done, gpus))
        return rows


def where(session: Session, task: Task, gpus: int) -> str:
    return f"{task.text}, {gpus} GPU{'s' if gpus > 1 else ''}" if session.on_gpu else task.text


def rows_of_run(session: Session, task: Task, floors: Floors, done: Calibration, gpus: int) -> list[Row]:
    text, own, floor = where(session, task, gpus), done.cost["layer_seconds"], floors.seconds(gpus)
    peak = done.cost["peak_device_bytes" if session.on_gpu else "peak_host_bytes"] / GIGABYTE
    found = {"process_seconds": done.seconds, "floor_seconds": floor, "gemm_seconds": floors.gemm_seconds,
             "read_bytes": floors.read_bytes, "read_bytes_per_second": floors.read_rate, **done.cost}
    if session.on_gpu:
        speed = Row(task.name, f"layers' phase, {text}", Goal(1.15 * floor + 5, "s"), own, seconds(own),
                    f"{floors.text(gpus)}; the goal is 1.15 x that + 5 s", details=found)
    else:
        speed = Row(task.name, f"layers' phase, {text}", Goal(1.25, "x"), own / floor, seconds(own), floors.text(gpus),
                    details=found)
    verified = json.loads(run(session.program("kvcalib"), "verify", done.output, "--json", allowed=(0, 1)).out)
    return [speed,
            Row(task.name, f"peak memory, {text}", Goal(task.model.memory, "GB"), peak, f"{peak:.1f} GB"),
            Row(task.name, f"kvcalib verify, {text}", Goal(0, "faults"), len(verified["faults"]),
                f"{len(list(done.output.glob('layers.*.past_kv_scale.*')))} scale files", details=verified)]


def plan_row(session: Session, task: Task, weights: Path, done: Calibration, gpus: int) -> Row:
    planned = session.plan(weights, task.windows, task.model.length, gpus)["memory_bytes_per_device"]
    peak = done.cost["peak_device_bytes"]
    return Row(task.name, f"peak memory beside the plan, {where(session, task, gpus)}", Goal(5, "%"),
               100 * abs(peak / planned - 1), gigabytes(peak), f"--dry-run {gigabytes(planned)}")
