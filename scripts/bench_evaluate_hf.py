#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times what a good Hugging Face script does for an evaluation of an int8 KV cache: two forwards per batch of windows,
K and V rounded to 16 bits in the one and through int8 in the other, and of both at once, block by block of rows, the
surprise of each token but a window's first, KL(fp16 || int8) and whether the likeliest token is the same.

The cache hook of each forward changes K (after RoPE) and V on their way into attention and keeps nothing. Scales come
from --scales or, without it, from the first window. Models and windows are those of bench_hf.py; several batch sizes
are measured, and the one with the lowest median counts. One JSON object goes to stdout, progress to stderr.
"""

import argparse
import gc
import math
import statistics
import sys
import time
from pathlib import Path

import bench_hf
from bench_hf import add_workload_options, host_peak_bytes, load_ids, load_model, parse_workload, synchronise
from benchmark.shapes import (GIGABYTE, Failure, machine, positive, read_preset, read_weights, require_device,
                              run_and_report, say)


def import_libraries() -> float:
    """Makes torch and the caches known to this file; the seconds that took."""
    global torch, SixteenBits, Int8, Ranges
    seconds = bench_hf.import_libraries()
    torch, dynamic = bench_hf.torch, bench_hf.transformers.DynamicCache

    class SixteenBits(dynamic):
        """Hands K and V on as a 16-bit cache returns them."""

        def __init__(self, model, dtype):
            super().__init__(config=model.config)
            self.dtype = dtype

        def update(self, keys, values, layer, *arguments, **options):
            return keys.to(self.dtype).to(keys.dtype), values.to(self.dtype).to(values.dtype)

    class Ranges(SixteenBits):
        """Finds the minimum and maximum of K and V, [layers][4], of one serving rank."""

        def __init__(self, model, dtype):
            super().__init__(model, dtype)
            self.found = []

        def update(self, keys, values, layer, *arguments, **options):
            keys, values = super().update(keys, values, layer)
            self.found.append([extreme.float() for part in (keys, values) for extreme in torch.aminmax(part)])
            return keys, values

    class Int8(SixteenBits):
        """Hands K and V on through int8; scales [layers, 4, kv_heads, 1, 1] of k_scale, k_zero, v_scale, v_zero."""

        def __init__(self, model, dtype, scales):
            super().__init__(model, dtype)
            self.scales = scales

        def through(self, x, scale, zero):
            codes = x.to(self.dtype).float().sub_(zero).div_(scale).round_().clamp_(-128, 127)
            return codes.mul_(scale).add_(zero).to(self.dtype).to(x.dtype)

        def update(self, keys, values, layer, *arguments, **options):
            scales = self.scales[layer]
            return self.through(keys, *scales[:2]), self.through(values, *scales[2:])

    return seconds


def read_scales(directory: Path, layers: int) -> list[list[list[float]]]:
    """[layers][ranks][4] from TurboMind scale files of four floats."""
    import numpy
    ranks = len(list(directory.glob("layers.0.past_kv_scale.*.weight")))
    files = [[directory / f"layers.{layer}.past_kv_scale.{rank}.weight" for rank in range(ranks)]
             for layer in range(layers)]
    for file in (file for of_layer in files for file in of_layer):
        if not file.is_file() or file.stat().st_size != 16:
            raise Failure(f"{file}: is not there or has not four floats; --scales wants the files of one calibration")
    if not ranks:
        raise Failure(f"{directory}: has no layers.0.past_kv_scale.0.weight; --scales wants the output of kvcalib")
    return [[numpy.fromfile(file, "<f4").tolist() for file in of_layer] for of_layer in files]


def find_scales(model, ids, dtype) -> list[list[list[float]]]:
    """Asymmetric scales of one window for one rank."""
    with torch.inference_mode():
        cache = Ranges(model, dtype)
        model.model(input_ids=ids, past_key_values=cache, use_cache=True)
    ranges = [[extreme.item() for extreme in layer] for layer in cache.found]
    return [[[(high - low) / 255 if part == 0 else (high + low) / 2 for low, high in (layer[:2], layer[2:])
              for part in (0, 1)]] for layer in ranges]


def spread_scales(scales, kv_heads: int, device):
    """Scales by rank as [layers, 4, kv_heads, 1, 1]; a rank's kv heads lie one after the other."""
    by_rank = torch.tensor(scales, dtype=torch.float32)
    if kv_heads % by_rank.shape[1]:
        raise Failure(f"--scales: is of {by_rank.shape[1]} ranks, which the {kv_heads} kv heads do not divide among")
    by_head = by_rank.repeat_interleave(kv_heads // by_rank.shape[1], dim=1)
    return by_head.transpose(1, 2)[..., None, None].contiguous().to(device)


def compare(model, hidden, targets, sums) -> None:
    """Adds to sums [4] the surprises of both streams, the divergence and the agreements of a block of rows.

    hidden: [rows, hidden] of each stream; targets: [rows]."""
    first, other = (torch.log_softmax(model.lm_head(rows).float(), dim=-1) for rows in hidden)
    sums[0] -= first.gather(1, targets).sum(dtype=torch.float64)
    sums[1] -= other.gather(1, targets).sum(dtype=torch.float64)
    sums[3] += (first.argmax(-1) == other.argmax(-1)).sum()
    difference = other.neg_().add_(first)
    sums[2] += difference.mul_(first.exp_()).sum(dtype=torch.float64)


def evaluate(model, ids, batch: int, rows: int, caches):
    """The mean surprises, divergence and agreement over all tokens but each window's first: the whole timed job."""
    with torch.inference_mode():
        sums = torch.zeros(4, dtype=torch.float64, device=model.device)
        for part in ids.split(batch):
            streams = [model.model(input_ids=part, past_key_values=cache(), use_cache=True).last_hidden_state[:, :-1]
                       .reshape(-1, model.config.hidden_size) for cache in caches]
            targets = part[:, 1:].reshape(-1, 1)
            for first in range(0, len(targets), rows):
                block = slice(first, first + rows)
                compare(model, [stream[block] for stream in streams], targets[block], sums)
        return (sums / (ids.shape[0] * (ids.shape[1] - 1))).tolist()


def measure(model, ids, batch: int, caches, options: argparse.Namespace) -> dict:
    """What one batch size costs, and what it found."""
    cuda = options.device == "cuda"
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(options.repeat):
        synchronise(options.device)
        started = time.perf_counter()
        means = evaluate(model, ids, batch, options.rows, caches)
        seconds.append(time.perf_counter() - started)
        say(f"batch {batch}: {seconds[-1]:.2f} s")
    peak = torch.cuda.max_memory_allocated() if cuda else host_peak_bytes()
    return {"batch": batch, "seconds": seconds, "median_seconds": statistics.median(seconds),
            "peak_memory_gigabytes": peak / GIGABYTE, "perplexity": [math.exp(mean) for mean in means[:2]],
            "divergence": means[2], "same_top": means[3]}


def measure_all(model, ids, caches, options: argparse.Namespace) -> list[dict]:
    results = []
    for batch in sorted({min(batch, len(ids)) for batch in options.batch}):
        try:
            results.append(measure(model, ids, batch, caches, options))
        except torch.OutOfMemoryError:
            say(f"batch {batch}: out of memory")
            results.append({"batch": batch, "out_of_memory": True})
    return results


def cache_dtype(options: argparse.Namespace, model):
    """The model's 16-bit type, in which its cache holds K and V whatever is computed in."""
    if model.dtype != torch.float32:
        return model.dtype
    if options.hf:
        own = bench_hf.transformers.AutoConfig.from_pretrained(options.hf).dtype
        return torch.bfloat16 if own == torch.bfloat16 else torch.float16
    shape = read_preset(options.config) if options.config else read_weights(options.weights)
    return torch.bfloat16 if shape.weight_type == "bf16" else torch.float16


def prepare(options: argparse.Namespace) -> tuple[object, object, list, float]:
    """The model, the windows on its device, what makes each stream's cache, and the seconds that loading took; one
    window has run."""
    started = time.perf_counter()
    try:
        model = load_model(options, "AutoModelForCausalLM")
        seconds = time.perf_counter() - started
        ids, dtype = load_ids(options, model.config.vocab_size), cache_dtype(options, model)
        scales = read_scales(options.scales, model.config.num_hidden_layers) if options.scales \
            else find_scales(model, ids[:1], dtype)
        spread = spread_scales(scales, model.config.num_key_value_heads, model.device)
        caches = [lambda: SixteenBits(model, dtype), lambda: Int8(model, dtype, spread)]
        evaluate(model, ids[:1], 1, options.rows, caches)
    except torch.OutOfMemoryError as failure:
        raise Failure(f"the model and one window do not fit the device: {failure}") from failure
    return model, ids, caches, seconds


def run(options: argparse.Namespace) -> dict:
    import_seconds = import_libraries()
    require_device(options.device)
    model, ids, caches, load_seconds = prepare(options)
    say(f"import {import_seconds:.2f} s, weights {load_seconds:.2f} s")
    results = measure_all(model, ids, caches, options)
    measured = [result for result in results if "seconds" in result]
    if not measured:
        raise Failure(f"--batch {','.join(map(str, options.batch))}: none fits the memory; use a smaller one")
    best = min(measured, key=lambda result: result["median_seconds"])
    seconds = best["median_seconds"]
    return {"benchmark": "hugging_face_evaluate", **machine(options.device),
            "model": str(options.hf or options.config or options.weights),
            "weights": "loaded" if options.hf else "random", "dtype": str(model.dtype).removeprefix("torch."),
            "attention": model.config._attn_implementation, "layers": model.config.num_hidden_layers,
            "windows": options.windows, "length": options.length, "scored_tokens": ids.shape[0] * (ids.shape[1] - 1),
            "scales": str(options.scales or "of the first window"), "import_seconds": import_seconds,
            "load_seconds": load_seconds, "batches": results, "best_batch": best["batch"], "seconds": seconds,
            "total_seconds": import_seconds + load_seconds + seconds,
            "tokens_per_second": options.windows * options.length / seconds,
            **{name: best[name] for name in ("perplexity", "divergence", "same_top", "peak_memory_gigabytes")},
            "peak_memory_source": "torch.cuda.max_memory_allocated" if options.device == "cuda" else "ru_maxrss",
            "peak_host_memory_gigabytes": host_peak_bytes() / GIGABYTE}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add_workload_options(parser)
    parser.add_argument("--scales", type=Path, metavar="DIR",
                        help="TurboMind scale files, such as kvcalib's output; default: scales of the first window")
    parser.add_argument("--rows", type=positive, default=2048, metavar="N",
                        help="rows of the head at once; default %(default)s")
    options = parse_workload(parser, arguments)
    if options.length < 2:
        parser.error(f"argument --length: {options.length} leaves no token to score; use 2 or more")
    return options


if __name__ == "__main__":
    sys.exit(run_and_report(run, parse(sys.argv[1:])))
