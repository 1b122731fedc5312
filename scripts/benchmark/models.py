# SPDX-License-Identifier: Apache-2.0
"""The rows of bench.py for models that are larger than the machine: two distinct layers stand for all."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.session import (ROOT, Calibration, Session, Skip, available_memory, gigabytes, report, results, run,
                               script)
from benchmark.table import Goal, Row, seconds
from benchmark.shapes import GIGABYTE, Shape, read_preset

DISTINCT = 2


@dataclass(frozen=True)
class LargeModel:
    preset: str
    windows: int
    length: int
    # By the least number of GPUs that they are meant for:
    memory: dict[int, float]  # gigabytes that a run may hold at most, on each device
    process: dict[int, float] = field(default_factory=dict)  # seconds that a whole run may take at most


LARGE_MODELS = {
    "cpu": {"104b": LargeModel("internlm-104b", 1, 64, {1: 14}), "7b": LargeModel("llama-2-7b", 4, 256, {1: 4})},
    "gpu": {"104b": LargeModel("internlm-104b", 128, 2048, {1: 24, 4: 16}, {8: 30}),
            "7b": LargeModel("llama-2-7b", 128, 2048, {1: 24})},
}
SCALING = 95  # % of as many times faster as there are GPUs


def goal_for(gpus: int, goals: dict[int, float]) -> float | None:
    return next((goals[least] for least in sorted(goals, reverse=True) if gpus >= least), None)


@dataclass(frozen=True)
class Floors:
    """What any run of the model needs, on one device."""

    gemm_seconds: float
    read_bytes: int
    read_rate: float  # bytes a second
    flop: float

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
                        read_rate(session, weights),
                        gemm["needed_flop"] * task.layers / gemm["layers"])
        session.floors[f"GEMMs and attention, {task.shape.name}, {task.windows} x {task.model.length}"] = \
            f"{gemm['sustained_teraflops']:.3g} TFLOP/s, {gemm['dtype']}"
        session.floors[f"reading the files of {task.shape.name}"] = f"{floors.read_rate / GIGABYTE:.2f} GB/s"
        ids = session.ids(task.windows, task.model.length, task.shape.vocab)
        rows, first = [], None
        for gpus in [count for count in (1, 2, 4, 8) if count <= session.gpus] or [1]:
            done = session.calibrate(weights, "--data", ids, gpus=gpus)
            found = results(done.output)
            first = first or (done, found)
            rows += rows_of_run(session, task, floors, done, gpus)
            if session.on_gpu:
                rows.append(plan_row(session, task, weights, done, gpus))
            if gpus > 1:
                rows += rows_of_several(session, task, first, (done, found), gpus)
        return rows


def where(session: Session, task: Task, gpus: int) -> str:
    return f"{task.text}, {gpus} GPU{'s' if gpus > 1 else ''}" if session.on_gpu else task.text


def rows_of_run(session: Session, task: Task, floors: Floors, done: Calibration, gpus: int) -> list[Row]:
    text, own, floor = where(session, task, gpus), done.cost["layer_seconds"], floors.seconds(gpus)
    peak = done.cost["peak_device_bytes" if session.on_gpu else "peak_host_bytes"] / GIGABYTE
    process_limit = goal_for(gpus, task.model.process)
    found = {"process_seconds": done.seconds, "floor_seconds": floor, "gemm_seconds": floors.gemm_seconds,
             "read_bytes": floors.read_bytes, "read_bytes_per_second": floors.read_rate, **done.cost}
    if session.on_gpu:
        speed = Row(task.name, f"layers' phase, {text}", Goal(1.15 * floor + 5, "s"), own,
                    ", ".join([seconds(own), *rates(task, floors, done.cost, gpus)]),
                    f"{floors.text(gpus)}; the goal is 1.15 x that + 5 s", details=found)
    else:
        speed = Row(task.name, f"layers' phase, {text}", Goal(1.25, "x"), own / floor, seconds(own), floors.text(gpus),
                    details=found)
    verified = json.loads(run(session.program("kvcalib"), "verify", done.output, "--json", allowed=(0, 1)).out)
    whole = [Row(task.name, f"whole process, {text}", Goal(process_limit, "s"), done.seconds, seconds(done.seconds),
                 f"its layers' phase {seconds(own)}")] if process_limit else []
    return [speed, *whole,
            Row(task.name, f"peak memory, {text}", Goal(goal_for(gpus, task.model.memory), "GB"), peak,
                f"{peak:.1f} GB"),
            Row(task.name, f"kvcalib verify, {text}", Goal(0, "faults"), len(verified["faults"]),
                f"{len(list(done.output.glob('layers.*.past_kv_scale.*')))} scale files", details=verified)]


def rates(task: Task, floors: Floors, cost: dict, gpus: int) -> list[str]:
    """What a run on GPUs reached; reading and gathering by the first rank."""
    own = cost["layer_seconds"]
    tokens = task.windows * task.model.length
    found = [f"{tokens / own:.0f} tokens/s", f"{floors.flop / own / gpus / 1e12:.0f} TFLOP/s a GPU",
             f"read {cost['bytes_read_by_rank_0'] / cost['read_seconds'] / GIGABYTE:.1f} GB/s a rank"]
    if gpus > 1:
        found.append(f"gathered {cost['bytes_gathered_by_rank_0'] / cost['gather_seconds'] / GIGABYTE:.0f} GB/s")
    return found


def rows_of_several(session: Session, task: Task, first: tuple, last: tuple, gpus: int) -> list[Row]:
    """What several GPUs must reach beside the first run's one."""
    (alone, alone_results), (done, done_results) = first, last
    one, several = (run.cost["layer_seconds"] for run in (alone, done))
    different = [name for name in alone_results | done_results if alone_results.get(name) != done_results.get(name)]
    layer_bytes = (done.cost["bytes_gathered_by_rank_0"] // task.layers) * gpus // (gpus - 1)
    raw = report(session.program("bench_engine"), "gather", "--device", session.torch_device, "--ranks", gpus,
                 "--bytes", layer_bytes)
    session.floors[f"all-gather of a layer of {task.shape.name}, {gpus} GPUs"] = \
        f"{raw['gigabytes_per_second']:.0f} GB/s to each ({raw['interconnect']})"
    return [Row(task.name, f"scaling of the layers' phase, {where(session, task, gpus)}",
                Goal(SCALING, "%", at_least=True), 100 * one / several / gpus, seconds(several),
                f"one GPU {seconds(one)}", details={"gather": raw}),
            Row(task.name, f"scales and statistics beside one GPU's, {where(session, task, gpus)}", Goal(0, "files"),
                len(different), f"{len(done_results)} files", "the same bytes")]


def plan_row(session: Session, task: Task, weights: Path, done: Calibration, gpus: int) -> Row:
    planned = session.plan(weights, task.windows, task.model.length, gpus)["memory_bytes_per_device"]
    peak = done.cost["peak_device_bytes"]
    return Row(task.name, f"peak memory beside the plan, {where(session, task, gpus)}", Goal(5, "%"),
               100 * abs(peak / planned - 1), gigabytes(peak), f"--dry-run {gigabytes(planned)}")
