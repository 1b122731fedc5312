#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times what a straightforward Hugging Face script does for a calibration: weights resident, windows in batches, and
the minimum and maximum of every K and V channel, taken from the cache (K after RoPE).

The weights are random in the shape of a preset or a TurboMind directory, which Transformers cannot read, or those of a
Hugging Face directory. Several batch sizes are measured; the one with the lowest median counts. One JSON object goes
to stdout, progress to stderr.
"""

import argparse
import gc
import os
import resource
import statistics
import sys
import time
from pathlib import Path

from benchmark.shapes import (DTYPES, GIGABYTE, Failure, Shape, add_device_options, is_installed, machine, positive,
                              positive_list, read_preset, read_weights, require_device, run_and_report, say)

RANGE_NAMES = ("key.minimum", "key.maximum", "value.minimum", "value.maximum")


def import_libraries() -> float:
    """Makes torch and transformers known to this file; the seconds that took."""
    global torch, transformers
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    started = time.perf_counter()
    try:
        import torch
        import transformers
        from transformers import AutoModel, DynamicCache, LlamaModel  # noqa: F401: transformers imports on first use
    except ImportError as missing:
        raise Failure(f"{missing}; install it: scripts/setup.sh --dev, or pip install transformers") from missing
    seconds = time.perf_counter() - started
    transformers.utils.logging.disable_progress_bar()
    return seconds


def model_config(shape: Shape, length: int):
    return transformers.LlamaConfig(
        vocab_size=shape.vocab, hidden_size=shape.hidden, intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim, rms_norm_eps=shape.norm_eps, attention_bias=shape.attention_bias,
        max_position_embeddings=max(shape.max_position_embeddings, length),
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta})


def load_model(options: argparse.Namespace, kind: str = "AutoModel"):
    """The model, by default the decoder without lm_head, on the device; its weights are there when this returns."""
    auto = getattr(transformers, kind)
    if options.hf:
        dtype = choose_dtype(options, transformers.AutoConfig.from_pretrained(options.hf).dtype)
        # Without accelerate, Transformers loads into host memory only.
        place = {"device_map": options.device} if is_installed("accelerate") else {}
        model = auto.from_pretrained(options.hf, dtype=dtype, attn_implementation="sdpa", **place)
        model = model.to(options.device)
    else:
        shape = read_preset(options.config) if options.config else read_weights(options.weights)
        dtype = choose_dtype(options, getattr(torch, DTYPES[shape.weight_type]))
        torch.manual_seed(0)
        with torch.device(options.device):
            model = auto.from_config(model_config(shape, options.length), dtype=dtype, attn_implementation="sdpa")
    synchronise(options.device)
    return model.eval()


def choose_dtype(options: argparse.Namespace, own):
    """What --dtype says; by default the model's own type on a GPU and fp32 on a CPU."""
    if options.dtype:
        return getattr(torch, DTYPES[options.dtype])
    return own if options.device == "cuda" else torch.float32


def load_ids(options: argparse.Namespace, vocab: int):
    """Token windows [windows, length] on the device."""
    if not options.ids:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(vocab, (options.windows, options.length), generator=generator)
    else:
        import numpy
        array = numpy.load(options.ids)
        wanted = (options.windows, options.length)
        if array.ndim != 2 or array.dtype.kind not in "iu" or array.shape[0] < wanted[0] or array.shape[1] < wanted[1]:
            raise Failure(f"{options.ids}: {array.dtype} of {list(array.shape)}, expected integers of at least "
                          f"{list(wanted)}; use other --windows and --length")
        ids = torch.from_numpy(array[:options.windows, :options.length].astype(numpy.int64))
        if ids.min() < 0 or ids.max() >= vocab:
            raise Failure(f"{options.ids}: ids from {ids.min()} to {ids.max()}, but the model's are 0 to {vocab - 1}; "
                          "use the ids of its own tokenizer")
    return ids.to(options.device)


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def range_at_once(cached):
    """Minimum and maximum [kv_heads, head_dim] of one layer's K or V [batch, kv_heads, tokens, head_dim]."""
    minimum, maximum = torch.aminmax(cached, dim=2)
    return minimum.amin(0), maximum.amax(0)


def range_in_two(cached):
    return cached.amin((0, 2)), cached.amax((0, 2))


def faster_range(model, batch: int, length: int):
    """Which of the two ways is the faster one depends on device and shape; it is tried on a tensor like the cache's."""
    config = model.config
    cached = torch.randn((batch, config.num_key_value_heads, length, config.head_dim), device=model.device,
                         dtype=model.dtype)
    seconds = {}
    for way in (range_at_once, range_in_two):
        for _ in range(3):
            synchronise(model.device.type)
            started = time.perf_counter()
            way(cached)
            synchronise(model.device.type)
            seconds[way] = min(seconds.get(way, float("inf")), time.perf_counter() - started)
    return min(seconds, key=seconds.get)


def observe_batch(model, ids, ranges, range_of) -> None:
    """Widens ranges [layers, 4, kv_heads, head_dim] by one batch; its cache is gone afterwards."""
    cache = transformers.DynamicCache(config=model.config)
    model(input_ids=ids, past_key_values=cache, use_cache=True)
    for known, layer in zip(ranges, cache.layers, strict=True):
        for first, cached in ((0, layer.keys), (2, layer.values)):
            minimum, maximum = range_of(cached)
            torch.minimum(known[first], minimum, out=known[first])
            torch.maximum(known[first + 1], maximum, out=known[first + 1])


def observe(model, ids, batch: int, range_of):
    """The ranges [layers, 4, kv_heads, head_dim] of all windows, in host memory: the whole timed job."""
    config = model.config
    with torch.inference_mode():
        ranges = torch.empty((config.num_hidden_layers, 4, config.num_key_value_heads, config.head_dim),
                             device=model.device, dtype=model.dtype)
        ranges[:, 0::2], ranges[:, 1::2] = float("inf"), float("-inf")
        for part in ids.split(batch):
            observe_batch(model, part, ranges, range_of)
        return ranges.cpu()


def measure(model, ids, batch: int, options: argparse.Namespace) -> tuple[dict, object]:
    """What one batch size costs, and the ranges that it found."""
    cuda = options.device == "cuda"
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
    range_of = faster_range(model, batch, ids.shape[1])
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(options.repeat):
        synchronise(options.device)
        started = time.perf_counter()
        ranges = observe(model, ids, batch, range_of)
        seconds.append(time.perf_counter() - started)
        say(f"batch {batch}: {seconds[-1]:.2f} s")
    peak = torch.cuda.max_memory_allocated() if cuda else host_peak_bytes()
    return {"batch": batch, "forward_seconds": seconds, "median_forward_seconds": statistics.median(seconds),
            "range_function": range_of.__name__, "peak_memory_gigabytes": peak / GIGABYTE}, ranges


def measure_all(model, ids, options: argparse.Namespace) -> tuple[list[dict], dict[int, object]]:
    results, ranges = [], {}
    for batch in sorted({min(batch, len(ids)) for batch in options.batch}):
        try:
            result, ranges[batch] = measure(model, ids, batch, options)
        except torch.OutOfMemoryError:
            say(f"batch {batch}: out of memory")
            result = {"batch": batch, "out_of_memory": True}
        results.append(result)
    return results, ranges


def host_peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def save_ranges(file: Path, ranges) -> None:
    from safetensors.torch import save_file
    save_file({name: part.float().contiguous() for name, part in zip(RANGE_NAMES, ranges.unbind(1))}, file)


def prepare(options: argparse.Namespace) -> tuple[object, object, float]:
    """The model, the windows on its device, and the seconds that loading took; one window has run."""
    started = time.perf_counter()
    try:
        model = load_model(options)
        seconds = time.perf_counter() - started
        if options.save:
            model.save_pretrained(options.save)
        ids = load_ids(options, model.config.vocab_size)
        observe(model, ids[:1], 1, range_at_once)
    except torch.OutOfMemoryError as failure:
        raise Failure(f"the model and one window do not fit the device: {failure}") from failure
    return model, ids, seconds


def run(options: argparse.Namespace) -> dict:
    import_seconds = import_libraries()
    require_device(options.device)
    model, ids, load_seconds = prepare(options)
    say(f"import {import_seconds:.2f} s, weights {load_seconds:.2f} s")
    results, ranges = measure_all(model, ids, options)
    if not ranges:
        raise Failure(f"--batch {','.join(map(str, options.batch))}: none fits the memory; use a smaller one")
    best = min((result for result in results if "forward_seconds" in result),
               key=lambda result: result["median_forward_seconds"])
    if options.ranges:
        save_ranges(options.ranges, ranges[best["batch"]])
    seconds = best["median_forward_seconds"]
    cuda = options.device == "cuda"
    return {"benchmark": "hugging_face", **machine(options.device),
            "model": str(options.hf or options.config or options.weights),
            "weights": "loaded" if options.hf else "random", "dtype": str(model.dtype).removeprefix("torch."),
            "attention": model.config._attn_implementation, "layers": model.config.num_hidden_layers,
            "windows": options.windows, "length": options.length,
            "import_seconds": import_seconds, "load_seconds": load_seconds, "batches": results,
            "best_batch": best["batch"], "forward_seconds": seconds,
            "total_seconds": import_seconds + load_seconds + seconds,
            "tokens_per_second": options.windows * options.length / seconds,
            "peak_memory_gigabytes": best["peak_memory_gigabytes"],
            "peak_memory_source": "torch.cuda.max_memory_allocated" if cuda else "ru_maxrss",
            "peak_host_memory_gigabytes": host_peak_bytes() / GIGABYTE}


def add_workload_options(parser: argparse.ArgumentParser) -> None:
    """The model, the windows, the device and how often: what every benchmark of Hugging Face is told."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, metavar="FILE", help="random weights in the shape of a preset")
    source.add_argument("--weights", type=Path, metavar="DIR",
                        help="random weights in the shape of a TurboMind weights directory")
    source.add_argument("--hf", type=Path, metavar="DIR", help="the weights of a Hugging Face directory")
    parser.add_argument("--windows", type=positive, required=True, metavar="N")
    parser.add_argument("--length", type=positive, required=True, metavar="N", help="tokens of a window")
    parser.add_argument("--ids", type=Path, metavar="FILE.npy",
                        help="token windows, of which the first N are taken; default: random ids")
    add_device_options(parser)
    parser.add_argument("--batch", type=positive_list, default=[8, 16, 32], metavar="B[,B...]",
                        help="windows of a batch, each size measured; default 8,16,32")
    parser.add_argument("--repeat", type=positive, default=3, metavar="N", help="of each batch; default %(default)s")


def parse_workload(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    options = parser.parse_args(arguments)
    if options.hf and not (options.hf / "config.json").exists():
        parser.error(f"argument --hf: {options.hf / 'config.json'} is not there")
    return options


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add_workload_options(parser)
    parser.add_argument("--ranges", type=Path, metavar="FILE.safetensors", help="where to write the ranges found")
    parser.add_argument("--save", type=Path, metavar="DIR",
                        help="where to write the model, so that --hf can measure how long it loads")
    return parse_workload(parser, arguments)


if __name__ == "__main__":
    sys.exit(run_and_report(run, parse(sys.argv[1:])))
