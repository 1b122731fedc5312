# SPDX-License-Identifier: Apache-2.0
"""How long the matrix products and the attention of all layers take, and nothing else: bench_floor.py gemm."""

import argparse
import math
import statistics
import time
from functools import partial

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmark.shapes import DTYPES, Failure, Shape, machine, read_preset, read_weights, require_device, say

TERA = 1e12
PRODUCTS = ("qkv", "output", "gate_up", "down")  # in the order of a layer, attention after the first
LAYOUTS = ("in_out", "out_in")  # how a weight lies in memory; out_in is torch.nn.functional.linear's
SHORT_SECONDS = 0.05
WARM_UP_SECONDS = 1.0
HEAD_ROWS = 2048  # of the head at once


class Clock:
    """Times calls on a device."""

    def __init__(self, device: str, repeat: int):
        self.device, self.repeat = device, repeat

    def run(self, call, count: int) -> float:
        """Seconds of one call, of `count` in a row."""
        if self.device == "cpu":
            started = time.perf_counter()
            for _ in range(count):
                call()
            return (time.perf_counter() - started) / count
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        for _ in range(count):
            call()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) / 1e3 / count

    def warm_up(self, call, seconds: float) -> None:
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            self.run(call, 1)

    def loops(self, call, least_seconds: float) -> tuple[list[float], int]:
        """Seconds of one call in each of `repeat` loops of at least so many seconds, and how many calls a loop has."""
        self.run(call, 1)
        count = max(1, math.ceil(least_seconds / self.run(call, 1)))
        return [self.run(call, count) for _ in range(self.repeat)], count

    def median(self, call, least_seconds: float) -> float:
        return statistics.median(self.loops(call, least_seconds)[0])


class Layer:
    """The products and the attention of one decoder layer on a micro-batch of random data, outputs in place."""

    def __init__(self, shape: Shape, windows: int, length: int, device: str, dtype):
        self.shape, self.windows, self.length = shape, windows, length
        self.tokens = windows * length
        place = {"device": device, "dtype": dtype}
        products = shape.products()
        self.inputs, self.outputs, self.weights = {}, {}, {}
        for name, (rows, columns) in products.items():
            self.inputs[name] = torch.randn(self.tokens, rows, **place)
            self.outputs[name] = torch.randn(self.tokens, columns, **place)
            weight = torch.randn(rows, columns, **place).div_(math.sqrt(rows))  # outputs of rms 1 again
            self.weights[name] = {"in_out": weight, "out_in": weight.t().contiguous().t()}
        heads = self.outputs["qkv"].view(windows, length, -1, shape.head_dim).transpose(1, 2)
        self.qkv = heads.split((shape.heads, shape.kv_heads, shape.kv_heads), dim=1)

    def product(self, name: str, layout: str) -> None:
        torch.mm(self.inputs[name], self.weights[name][layout], out=self.outputs[name])

    def attention(self) -> None:
        torch.nn.functional.scaled_dot_product_attention(*self.qkv, is_causal=True,
                                                         enable_gqa=self.shape.heads != self.shape.kv_heads)

    def sequence(self, layouts: dict[str, str]) -> None:
        for name in PRODUCTS:
            self.product(name, layouts[name])
            if name == "qkv":
                self.attention()


def rates(seconds: float, flop: int) -> dict:
    return {"seconds": seconds, "teraflops": flop / seconds / TERA}


def measure_operations(layer: Layer, clock: Clock) -> dict:
    """Each product in both layouts, in short loops."""
    found = {}
    for name in layer.inputs:
        flop = layer.shape.product_flop(name, layer.tokens)
        found[name] = {"flop": flop}
        for layout in LAYOUTS:
            seconds = clock.median(partial(layer.product, name, layout), SHORT_SECONDS)
            found[name][layout] = rates(seconds, flop)
        say(f"{name}: " + ", ".join(f"{layout} {found[name][layout]['teraflops']:.3g} TFLOP/s" for layout in LAYOUTS))
    return found


def attention_backends(device: str) -> dict:
    if device == "cpu":
        return {"flash": SDPBackend.FLASH_ATTENTION}
    return {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION}


def measure_attention(layer: Layer, clock: Clock) -> tuple[dict, str]:
    """Attention by each backend that can do it, and the fastest one's name."""
    flop = layer.shape.attention_flop(layer.windows, layer.length)
    found = {"flop": flop}
    for name, backend in attention_backends(clock.device).items():
        try:
            with sdpa_kernel(backend):
                seconds = clock.median(layer.attention, SHORT_SECONDS)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as refusal:  # the backend does not take this type or shape
            found[name] = {"refused": str(refusal).splitlines()[0]}
            continue
        found[name] = rates(seconds, flop)
        say(f"attention: {name} {found[name]['teraflops']:.3g} TFLOP/s")
    able = [name for name in found if name != "flop" and "seconds" in found[name]]
    if not able:
        raise Failure(f"no attention backend takes this type and shape: {found}; try another --dtype")
    return found, min(able, key=lambda name: found[name]["seconds"])


def measure_sequences(layer: Layer, operations: dict, backend: str, clock: Clock, least_seconds: float) -> dict:
    """The whole layer at a sustained rate: either layout throughout, and of each product the one that was faster."""
    choices = {layout: dict.fromkeys(PRODUCTS, layout) for layout in LAYOUTS}
    faster = {name: min(LAYOUTS, key=lambda layout: operations[name][layout]["seconds"]) for name in PRODUCTS}
    if faster not in choices.values():
        choices["mixed"] = faster
    flop = sum(operations[name]["flop"] for name in (*PRODUCTS, "attention"))
    found = {}
    for name, layouts in choices.items():
        with sdpa_kernel(attention_backends(clock.device)[backend]):
            call = partial(layer.sequence, layouts)
            clock.warm_up(call, WARM_UP_SECONDS)
            loops, count = clock.loops(call, least_seconds)
        found[name] = {**rates(statistics.median(loops), flop), "layouts": layouts, "seconds_in_each_loop": loops,
                       "layers_in_each_loop": count}
        say(f"layer, {name}: {found[name]['teraflops']:.3g} TFLOP/s")
    return found


def measure_head(shape: Shape, windows: int, length: int, device: str, dtype, clock: Clock) -> dict:
    """The product of the rows that score a token with the head, in blocks, in the faster layout."""
    rows = windows * (length - 1)
    block = min(rows, HEAD_ROWS)
    place = {"device": device, "dtype": dtype}
    hidden, logits = torch.randn(block, shape.hidden, **place), torch.empty(block, shape.vocab, **place)
    head = torch.randn(shape.hidden, shape.vocab, **place)
    found = {}
    for layout, weight in (("in_out", head), ("out_in", head.t().contiguous().t())):
        call = partial(torch.mm, hidden, weight, out=logits)
        found[layout] = rates(clock.median(call, SHORT_SECONDS), 2 * block * shape.hidden * shape.vocab)
    seconds = min(layout["seconds"] for layout in found.values()) * rows / block
    say(f"head: {2 * rows * shape.hidden * shape.vocab / seconds / TERA:.3g} TFLOP/s")
    return {"head_rows": rows, "head_block": block, "head_operations": found, "head_seconds": seconds}


def run_gemm(options: argparse.Namespace) -> dict:
    require_device(options.device)
    if options.head and options.length < 2:
        raise Failure("--head: windows of one token have none to score; use a larger --length")
    shape = read_preset(options.config) if options.config else read_weights(options.weights)
    dtype = options.dtype or ("fp32" if options.device == "cpu" else shape.weight_type)
    micro_batch = options.micro_batch or (2048 if options.device == "cpu" else 16384)
    windows = min(max(1, micro_batch // options.length), options.windows)
    micro_batches = options.windows / windows
    clock = Clock(options.device, options.repeat)
    with torch.inference_mode():
        torch.manual_seed(0)
        try:
            layer = Layer(shape, windows, options.length, options.device, getattr(torch, DTYPES[dtype]))
            clock.warm_up(partial(layer.product, "gate_up", "in_out"), WARM_UP_SECONDS)
            operations = measure_operations(layer, clock)
            operations["attention"], backend = measure_attention(layer, clock)
            sequences = measure_sequences(layer, operations, backend, clock, options.seconds)
            head = measure_head(shape, options.windows, options.length, options.device, layer.inputs["qkv"].dtype,
                                clock) if options.head else {}
        except torch.OutOfMemoryError as failure:
            raise Failure(f"{failure}; use a smaller --micro-batch") from failure
    best = min(sequences, key=lambda name: sequences[name]["seconds"])
    layer_seconds = sequences[best]["seconds"] * micro_batches
    kv_seconds = min(operations["kv"][layout]["seconds"] for layout in LAYOUTS) * micro_batches
    tokens = options.windows * options.length
    layer_flop = (sum(shape.product_flop(name, tokens) for name in PRODUCTS)
                  + shape.attention_flop(options.windows, options.length))
    return {"benchmark": "gemm", **machine(options.device), "model": str(options.config or options.weights),
            "dtype": DTYPES[dtype], "layers": shape.layers, "windows": options.windows, "length": options.length,
            "micro_batch_tokens": layer.tokens, "operations": operations, "layer_sequences": sequences,
            "best_sequence": best, "best_attention": backend,
            "measured_layers": sequences[best]["layers_in_each_loop"] / micro_batches,
            "layer_seconds": layer_seconds, "kv_seconds": kv_seconds,
            "all_layers_seconds": shape.layers * layer_seconds,
            "needed_seconds": (shape.layers - 1) * layer_seconds + kv_seconds,
            "all_layers_flop": shape.layers * layer_flop,
            "needed_flop": (shape.layers - 1) * layer_flop + shape.product_flop("kv", tokens),
            "sustained_teraflops": sequences[best]["teraflops"], **head}
