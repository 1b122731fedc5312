# SPDX-License-Identifier: Apache-2.0
"""The rows of bench.py. Each measures kvcalib and, in turn with it, what it is compared with."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmark.evaluation_rows import evaluation, large_evaluation
from benchmark.generate_rows import generation
from benchmark.models import large_models
from benchmark.session import ROOT, Calibration, Session, report, run, script
from benchmark.table import Goal, Row, quantity, seconds
from benchmark.task_rows import tasks
from benchmark.shapes import Failure, read_preset, say
from benchmark.workload import Model, choose_model

STARTS = 5


@dataclass(frozen=True)
class Pair:
    calibration: Calibration
    other: dict


def calibrate(session: Session, model: Model) -> Calibration:
    return session.calibrate(model.weights, "--data", model.ids)


def in_turn(session: Session, model: Model, measure, turns: int) -> list[Pair]:
    return [Pair(calibrate(session, model), measure()) for _ in range(turns)]


def layer_seconds(pairs: list[Pair]) -> float:
    return median(pair.calibration.cost["layer_seconds"] for pair in pairs)


def process_seconds(pairs: list[Pair]) -> float:
    return median(pair.calibration.seconds for pair in pairs)


def details(pairs: list[Pair]) -> dict:
    return {"calibrations": [{"process_seconds": pair.calibration.seconds} | pair.calibration.cost for pair in pairs],
            "others": [pair.other for pair in pairs]}


def calibrate_beside_floor(session: Session) -> list[Pair]:
    model = session.once(choose_model)
    pairs = in_turn(session, model, lambda: script(
        "bench_floor.py", "gemm", "--weights", model.weights, "--windows", model.windows, "--length", model.length,
        "--device", session.torch_device, "--repeat", 1, "--seconds", 0.5 if session.quick else 3), session.repeat)
    rate = median(pair.other["sustained_teraflops"] for pair in pairs)
    session.floors[f"GEMMs and attention, {model.shape.name}"] = f"{rate:.3g} TFLOP/s, {pairs[0].other['dtype']}"
    return pairs


def layers(session: Session) -> list[Row]:
    model, pairs = session.once(choose_model), session.once(calibrate_beside_floor)
    own, floor = layer_seconds(pairs), median(pair.other["needed_seconds"] for pair in pairs)
    return [Row("layers", f"layers' phase, {model.text}", Goal(1.12 if session.on_gpu else 1.05, "x"), own / floor,
                seconds(own), f"GEMMs and attention alone {seconds(floor)}", details=details(pairs))]


def whole(session: Session) -> list[Row]:
    model, pairs = session.once(choose_model), session.once(calibrate_beside_floor)
    own, part = process_seconds(pairs), layer_seconds(pairs)
    return [Row("whole", f"whole process, {model.text}", Goal(3, "s"), own - part, seconds(own),
                f"its layers' phase {seconds(part)}", details=details(pairs))]


def waiting(session: Session) -> list[Row]:
    model, pairs = session.once(choose_model), session.once(calibrate_beside_floor)
    waited = median(pair.calibration.cost["waited_for_reader_seconds"] for pair in pairs)
    total = layer_seconds(pairs)
    return [Row("waiting", f"waiting for the reader, {model.text}", Goal(3, "%"), 100 * waited / total,
                quantity(waited, "s"), f"layers' phase {seconds(total)}", details=details(pairs))]


def hugging_face(session: Session) -> list[Row]:
    model = session.once(choose_model)
    arguments = ["--windows", model.windows, "--length", model.length, "--ids", model.ids, "--device",
                 session.torch_device, "--repeat", 1, "--batch", "8,16,32" if session.on_gpu else "1,8"]
    if session.on_gpu:
        source = ("--weights", model.weights)
    else:  # a directory of 16-bit weights as models come, so that loading counts
        source = ("--hf", session.folder / "hugging-face")
        script("bench_hf.py", "--weights", model.weights, "--windows", 1, "--length", 16, "--batch", 1, "--repeat", 1,
               "--dtype", model.shape.weight_type, "--save", source[1])
    turns = 1 if session.on_gpu else session.repeat  # a GPU's times hardly vary, and the script is slow to start
    pairs = in_turn(session, model, lambda: script("bench_hf.py", *source, *arguments), turns)
    forward = median(pair.other["forward_seconds"] for pair in pairs)
    if session.on_gpu:
        own = layer_seconds(pairs)
        return [Row("hugging-face", f"layers' phase, {model.text}", Goal(1.25, "x", at_least=True), forward / own,
                    seconds(own), f"Hugging Face script, import and load left out, {seconds(forward)}",
                    details=details(pairs))]
    own, total = process_seconds(pairs), median(pair.other["total_seconds"] for pair in pairs)
    what = f"whole process, {model.text}"
    return [Row("hugging-face", what, Goal(1.35, "x", at_least=True), total / own, seconds(own),
                f"Hugging Face script, whole, {seconds(total)}", details=details(pairs)),
            Row("hugging-face", what, Goal(1.2, "x", at_least=True), forward / own, seconds(own),
                f"Hugging Face script, import and load left out, {seconds(forward)}")]


def observer(session: Session) -> list[Row]:
    model = session.once(choose_model)
    windows = model.windows if session.on_gpu else min(2, model.windows)
    turns = 1 if session.quick else 3 if session.on_gpu else 9  # a CPU's times vary more
    found = report(session.program("bench_engine"), "pass", "--weights", model.weights, "--windows", windows,
                   "--length", model.length, "--device", session.torch_device, "--repeat", turns)
    return [Row("observer", f"observing K and V, {model.shape.name}, {windows} x {model.length}", Goal(1, "%"),
                100 * found["observer_cost"], seconds(found["observed_seconds"]),
                f"the same without {seconds(found['unobserved_seconds'])}", details=found)]


def reading_row(session: Session, weights: Path, name: str, state: str, *arguments) -> Row:
    found = report(session.program("bench_engine"), "read", "--weights", weights, "--device", session.torch_device,
                   "--repeat", 2 if session.quick else 5, *arguments)
    raw, bus = found["raw_gigabytes_per_second"], found["bus_gigabytes_per_second"]
    session.floors[f"plain pread, {state}, {found['reading_threads']} threads"] = f"{raw:.2f} GB/s"
    against = f"plain pread {raw:.2f} GB/s" + (f", the bus {bus:.2f} GB/s" if session.on_gpu else "")
    return Row("reading", f"reading {name}, {state}", Goal(0.9, "x", at_least=True), found["stream_of_possible"],
               f"{found['stream_gigabytes_per_second']:.2f} GB/s", against, details=found)


def reading(session: Session) -> list[Row]:
    if session.on_gpu:
        model = session.once(choose_model)
        return [reading_row(session, model.weights, model.shape.name, "from a RAM disk")]
    preset = ROOT / "configs/llama-2-7b.json"
    shape, cold_count = read_preset(preset), 4 if session.quick else 16
    warm_count = 8 if session.quick else shape.layers  # the memory for two of them is new to the process
    memory = session.plan(preset, 1, 1)["memory_bytes_per_device"]
    rows = []
    for distinct, count, state, arguments in ((4, warm_count, "in the page cache", ()),
                                              (cold_count, cold_count, "cold", ("--cold",))):
        with session.checkpoint(preset, shape, distinct, count, memory, disk=True) as weights:
            rows.append(reading_row(session, weights, f"{count} layers of {shape.name}", state, *arguments))
    return rows


def first_layer_seconds(trace: Path) -> float:
    """When the first layer began to compute, since the process did."""
    events = json.loads(trace.read_text())["traceEvents"]
    begins = [event["ts"] for event in events if event["ph"] == "X" and event["name"] == "layer"]
    if not begins:
        raise Failure(f"{trace.name}: has no event named layer; kvcalib and this script are of different versions")
    return min(begins) / 1e6


def start(session: Session) -> list[Row]:
    tiny, trace = ROOT / "configs/tiny-4m", session.folder / "trace.json"
    own, empty = [], []
    for _ in range(2 if session.quick else STARTS):
        session.calibrate(tiny / "weights", "--data", tiny / "text.jsonl", "--samples", 8, "--length", 512, "--trace",
                          trace)
        own.append(first_layer_seconds(trace))
        empty.append(run(session.program("bench_empty_torch")).seconds)
        say(f"first layer after {own[-1]:.2f} s, an empty program takes {empty[-1]:.2f} s")
    return [Row("start", "process start to first layer, tiny-4m, 8 x 512 from text", Goal(0.3, "s"),
                median(own) - median(empty), seconds(median(own)),
                f"an empty LibTorch program {seconds(median(empty))}",
                details={"first_layer_seconds": own, "empty_program_seconds": empty})]


def quick(session: Session) -> list[Row]:
    tiny, output = ROOT / "configs/tiny-4m", session.folder / "output"
    session.calibrate(tiny / "weights", "--data", tiny / "text.jsonl", "--samples", 8, "--length", 512)
    return [quick_command(session, tiny / "weights", *arguments) for arguments in (
        ("--help",), ("verify", output), ("inspect", output), ("export", "--stats", output / "kv_stats.safetensors"))]


def quick_command(session: Session, weights: Path, *arguments) -> Row:
    """What computes nothing, the whole process."""
    taken = []
    for number in range(2 if session.quick else 3 * STARTS):
        place = () if arguments[0] != "export" else ("--weights", weights, "--output", session.folder / f"of-{number}")
        taken.append(run(session.program("kvcalib"), *arguments, *place).seconds)
    return Row("quick", f"kvcalib {arguments[0]}, tiny-4m", Goal(0.05, "s"), median(taken),
               f"{1000 * median(taken):.0f} ms", details={"seconds": taken})


ROWS = {
    "cpu": {"layers": layers, "waiting": waiting, "hugging-face": hugging_face, "reading": reading, "start": start,
            "quick": quick, "observer": observer, "7b": large_models("7b"), "104b": large_models("104b"),
            "evaluate": evaluation, "evaluate-tasks": tasks, "generate": generation, "evaluate-104b": large_evaluation},
    "gpu": {"layers": layers, "whole": whole, "hugging-face": hugging_face, "observer": observer, "reading": reading,
            "104b": large_models("104b"), "7b": large_models("7b"), "evaluate": evaluation, "evaluate-tasks": tasks,
            "generate": generation},
}
