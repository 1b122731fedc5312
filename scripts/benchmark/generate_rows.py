# SPDX-License-Identifier: Apache-2.0
"""The rows of bench.py for generating answers: the steps of decoding beside the bytes that they read, int8 beside 16
bits, and both streams beside `generate` of Hugging Face's transformers, which has one."""

from dataclasses import dataclass

from benchmark.session import Session, report, script
from benchmark.table import Goal, Row, seconds
from benchmark.workload import Model, choose_model

NAME = "generate"
NEW_TOKENS = 16
FLOOR_PERCENT = 70


@dataclass(frozen=True)
class Size:
    prompts: int
    length: int
    compared: bool = False  # with Hugging Face

    @property
    def text(self) -> str:
        return f"{self.prompts} x {self.length} tokens"


def sizes(session: Session) -> list[Size]:
    """The last one is where the cache counts most."""
    if session.on_gpu:
        return [Size(1, 1024), Size(16, 1024, compared=True), Size(48, 2048)]
    length = (512, 128)[session.quick]
    return [Size(1, length), Size(16, length, compared=True), Size(64, length)]


def measure(session: Session, model: Model, size: Size) -> dict[str, dict]:
    found = report(session.program("bench_engine"), "generate", "--device", session.torch_device, "--weights",
                   model.weights, "--prompts", size.prompts, "--length", size.length, "--new", NEW_TOKENS, "--repeat",
                   session.repeat)
    return {run["streams"]: run for run in found["runs"]}


def generation(session: Session) -> list[Row]:
    model, rows = session.once(choose_model), []
    for size in sizes(session):
        runs = measure(session, model, size)
        if session.on_gpu or size.prompts == 1:  # on a CPU the arithmetic of more rows outweighs their bytes
            rows.append(beside_floor(model, size, runs))
        if size.compared:
            rows.append(beside_hugging_face(session, model, size, runs["both"]))
    return [*rows, int8_beside_16_bits(session, model, size, runs)]


def beside_floor(model: Model, size: Size, runs: dict[str, dict]) -> Row:
    """The worst of a cache of 16 bits, of int8, and of both."""
    worst = min(runs.values(), key=lambda run: run["of_floor"])
    return Row(NAME, f"a step of decoding, {worst['streams']}, {model.shape.name}, {size.text}",
               Goal(FLOOR_PERCENT, "%", at_least=True), 100 * worst["of_floor"], seconds(worst["step_seconds"]),
               f"its bytes at the rate of a copy, {worst['copy_gigabytes_per_second']:.0f} GB/s, "
               f"{seconds(worst['floor_seconds'])}", details=runs)


def int8_beside_16_bits(session: Session, model: Model, size: Size, runs: dict[str, dict]) -> Row:
    int8, other = (runs[name]["tokens_per_second"] for name in ("int8", "16 bits"))
    return Row(NAME, f"int8 beside 16 bits, {model.shape.name}, {size.text}",
               Goal(1.6 if session.on_gpu else 1.0, "x", at_least=True), int8 / other, f"{int8:.0f} tokens/s",
               f"16 bits {other:.0f} tokens/s")


def beside_hugging_face(session: Session, model: Model, size: Size, run: dict) -> Row:
    own = 2 * size.prompts * NEW_TOKENS / (run["prefill_seconds"] + (NEW_TOKENS - 1) * run["step_seconds"])
    found = script("bench_generate_hf.py", "--weights", model.weights, "--prompts", size.prompts, "--length",
                   size.length, "--new", NEW_TOKENS, "--device", session.torch_device, "--batch", f"1,{size.prompts}")
    other = found["tokens_per_second"]
    return Row(NAME, f"prompts and {NEW_TOKENS} tokens of each, two streams, {model.shape.name}, {size.text}",
               Goal(5 if session.on_gpu else 1.5, "x", at_least=True), own / other, f"{own:.0f} tokens/s",
               f"transformers' generate, one stream and half the tokens, its best batch, {other:.0f} tokens/s",
               details={"others": [found]})
