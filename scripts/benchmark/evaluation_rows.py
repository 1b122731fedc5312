# SPDX-License-Identifier: Apache-2.0
"""The rows of bench.py for `kvcalib evaluate` on windows of tokens: its time beside two streams' arithmetic and beside
Hugging Face, what one more stream costs, and its memory."""

from dataclasses import dataclass, replace
from statistics import median

from benchmark.evaluation import Evaluation, evaluate, write_scales
from benchmark.models import DISTINCT, make_task
from benchmark.session import Session, gigabytes, script
from benchmark.shapes import GIGABYTE
from benchmark.table import Goal, Row, seconds
from benchmark.workload import Model, choose_model

NAME = "evaluate"
LARGE_GIGABYTES = 16  # of host memory that a run of the largest model may hold
GPU_WINDOWS = (32, 8)  # fewer than calibrate's, for two streams; with --quick


@dataclass(frozen=True)
class Turn:
    """What is measured one after the other, so that a machine that slows down slows down all."""

    two: Evaluation  # fp16 and one int8 stream
    three: Evaluation
    floor: dict
    hugging_face: dict


def stream_floor(floor: dict) -> float:
    """Of one stream: unlike a calibration it needs all of the last layer, and the head."""
    return floor["all_layers_seconds"] + floor["head_seconds"]


def evaluated_model(session: Session) -> Model:
    model = session.once(choose_model)
    if not session.on_gpu:
        return model
    windows = min(model.windows, GPU_WINDOWS[session.quick])
    return replace(model, windows=windows, ids=session.ids(windows, model.length, model.shape.vocab))


def measure_turn(session: Session, model: Model) -> Turn:
    scales = write_scales(session, model.shape.layers)
    windows = ("--windows", model.windows, "--length", model.length, "--device", session.torch_device, "--repeat", 1)
    data = ("--data", model.ids, "--length", model.length)
    two, three = (evaluate(session, model.weights, scales[:count], *data) for count in (1, 2))
    floor = script("bench_floor.py", "gemm", "--head", "--weights", model.weights, *windows, "--seconds",
                   0.5 if session.quick else 3)
    hugging_face = script("bench_evaluate_hf.py", "--weights", model.weights, *windows, "--ids", model.ids, "--scales",
                          scales[0], "--batch", "4,8" if session.on_gpu else "1" if session.quick else "1,8")
    return Turn(two, three, floor, hugging_face)


def evaluation(session: Session) -> list[Row]:
    model = evaluated_model(session)
    turns = [measure_turn(session, model) for _ in range(session.repeat)]
    floor = median(stream_floor(turn.floor) for turn in turns)
    session.floors[f"one stream's GEMMs, attention and head, {model.text}"] = seconds(floor)
    rows = [beside_floor(model, turns, floor), beside_hugging_face(model, turns), one_more_stream(model, turns, floor),
            second_reading(model, turns)]
    return rows + ([beside_plan(model, turns[0].two)] if session.on_gpu else [])


def scored_seconds(runs: list[Evaluation]) -> float:
    return median(run.scored_seconds for run in runs)


def beside_floor(model: Model, turns: list[Turn], floor: float) -> Row:
    runs = [turn.two for turn in turns]
    own, process = scored_seconds(runs), median(run.seconds for run in runs)
    return Row(NAME, f"layers and head of two streams, {model.text}", Goal(1.1, "x"), own / (2 * floor),
               f"{seconds(own)} by its trace, first reading left out; the process {seconds(process)}",
               f"GEMMs, attention and head alone, twice, {seconds(2 * floor)}",
               details={"evaluations": [run.details() for run in runs], "floors": [turn.floor for turn in turns]})


def beside_hugging_face(model: Model, turns: list[Turn]) -> Row:
    own, other = scored_seconds([turn.two for turn in turns]), median(turn.hugging_face["seconds"] for turn in turns)
    return Row(NAME, f"layers and head of two streams, {model.text}", Goal(1.3, "x", at_least=True), other / own,
               seconds(own), f"Hugging Face script, import and load left out, {seconds(other)}",
               details={"others": [turn.hugging_face for turn in turns]})


def one_more_stream(model: Model, turns: list[Turn], floor: float) -> Row:
    two, three = scored_seconds([turn.two for turn in turns]), scored_seconds([turn.three for turn in turns])
    more = median(turn.three.scored_seconds - turn.two.scored_seconds for turn in turns)
    return Row(NAME, f"layers and head of one more int8 stream, {model.text}", Goal(1.02, "x"), more / floor,
               f"{seconds(more)}: three {seconds(three)}, two {seconds(two)}",
               f"its GEMMs, attention and head alone {seconds(floor)}",
               details={"evaluations": [turn.three.details() for turn in turns]})


def second_reading(model: Model, turns: list[Turn]) -> Row:
    what = f"bytes read for one more int8 stream, {model.text}"
    two, three = (median(run.read_bytes or 0 for run in runs)
                  for runs in ([turn.two for turn in turns], [turn.three for turn in turns]))
    if not two:
        return Row(NAME, what, skipped="this system does not count what a process reads (/proc/PID/io)")
    return Row(NAME, what, Goal(1, "%"), 100 * (three / two - 1), gigabytes(three), f"of two streams {gigabytes(two)}")


def beside_plan(model: Model, run: Evaluation) -> Row:
    what = f"peak memory beside the plan, {model.text}"
    if not run.memory:
        return Row(NAME, what, skipped="this kvcalib writes no event named memory into its trace")
    peak, planned = run.memory["peak_device_bytes"], run.memory["planned_device_bytes"]
    return Row(NAME, what, Goal(5, "%"), 100 * abs(peak / planned - 1), gigabytes(peak),
               f"planned {gigabytes(planned)}", details=run.memory)


def large_evaluation(session: Session) -> list[Row]:
    """Its memory alone: reading dominates its time, which the row 104b shows of a calibration."""
    task = make_task(session, "104b")
    memory = int(LARGE_GIGABYTES * GIGABYTE)
    with session.checkpoint(task.preset, task.shape, DISTINCT, task.layers, memory) as weights:
        ids, scales = session.ids(task.windows, task.model.length, task.shape.vocab), write_scales(session, task.layers)
        run = evaluate(session, weights, scales[:1], "--data", ids, "--length", task.model.length)
    peak = run.peak_host_bytes / GIGABYTE
    return [Row("evaluate-104b", f"peak memory of two streams, {task.text}", Goal(LARGE_GIGABYTES, "GB"), peak,
                f"{peak:.1f} GB, the process {seconds(run.seconds)}", "", details=run.details())]
