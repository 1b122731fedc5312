#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the weights directory of a preset with random weights, as fast as the disk takes it: for benchmarks.

With --distinct-layers K, layers 0 to K - 1 are files and layer l is hard links to layer l % K, so that a RAM disk for
K layers holds the whole model. On a real disk the links are read from the page cache.

For each standard deviation 16M normal numbers are drawn once, the pool; a matrix is pieces of its pool, each from a
random place, written by a thread for each core. Pieces that overlap are shifted against each other, almost always by
part of a row, so that matrices have nearly the spectrum of independent numbers, and GEMMs draw the power that real
weights make them draw. The same seed gives the same bytes on any number of cores.

Activations stay small in any depth: a layer sees its input normalised; q, k, v, gate and up have deviation 1, so that
attention is not saturated and K spans about ten units; attention and MLP add about 0.4 and 0.3 to the hidden state,
whatever its width. At width 1024 its deviation after 82 layers is 4, and 32 (largest 175) with one real layer.
"""

import argparse
import json
import math
import os
import shutil
import signal
import sys
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

POOL = 1 << 24  # numbers
PIECE = 1 << 21  # numbers, written at once
BLOCK = 4096  # bytes that a file system hands out
RESIDUAL_GAIN = 0.5  # of what attention and MLP add to the hidden state
CORES = len(os.sched_getaffinity(0))


class Failure(Exception):
    """Something the user can mend: what was found, and what to do."""


class Shape(NamedTuple):
    """A preset as configs/ has them."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    norm_eps: float
    rope_theta: float
    weight_type: str
    attention_bias: bool
    max_position_embeddings: int
    tensor_para_size: int


class TensorFile(NamedTuple):
    """A file of random numbers. Those of the same stream hold the same numbers."""

    name: str
    count: int
    deviation: float
    stream: str
    vector: bool = False  # drawn number by number
    mean: float = 0.0


def read_preset(path: Path, **changes: int | None) -> Shape:
    """The preset with those changes that are not None."""
    try:
        preset = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as failure:
        raise Failure(f"{path}: is not JSON ({failure}); expected a preset as in configs/") from None
    if not isinstance(preset, dict):
        raise Failure(f"{path}: expected an object, as the presets in configs/ are")
    preset |= {name: value for name, value in changes.items() if value is not None}
    for name, kind in Shape.__annotations__.items():
        if name not in preset:
            raise Failure(f"{path}: has no '{name}'; expected a preset as in configs/")
        value = preset[name]
        right = type(value) in ((int, float) if kind is float else (kind,))
        if not right or kind in (int, float) and not 0 < value < math.inf:
            wanted = {str: "a text", bool: "true or false"}.get(kind, "a positive number")
            raise Failure(f"{path}: {name} is {json.dumps(value)}, expected {wanted}")
    shape = Shape(**{name: preset[name] for name in Shape._fields})
    check(path, shape)
    return shape


def check(path: Path, shape: Shape) -> None:
    if shape.weight_type not in ("fp16", "bf16"):
        raise Failure(f"{path}: weight_type is '{shape.weight_type}', expected fp16 or bf16")
    if shape.hidden != shape.heads * shape.head_dim:
        raise Failure(f"{path}: hidden is {shape.hidden}, expected heads x head_dim = {shape.heads * shape.head_dim}")
    if shape.head_dim % 2 or shape.head_dim > 256:
        raise Failure(f"{path}: head_dim is {shape.head_dim}, expected an even number up to 256")
    if shape.heads % shape.kv_heads:
        raise Failure(f"{path}: heads is {shape.heads}, not divisible by kv_heads = {shape.kv_heads}")
    for name in ("heads", "kv_heads", "intermediate"):
        if getattr(shape, name) % shape.tensor_para_size:
            raise Failure(f"{path}: {name} is {getattr(shape, name)}, not divisible by {shape.tensor_para_size} ranks; "
                          "give another --tp")


def layer_files(shape: Shape, layer: int) -> list[TensorFile]:
    ranks, hidden, prefix = shape.tensor_para_size, shape.hidden, f"layers.{layer}."
    qkv = (shape.heads + 2 * shape.kv_heads) * shape.head_dim // ranks
    inner = shape.intermediate // ranks
    files = []

    def add(name: str, count: int, deviation: float, stream: str = "", **options) -> None:
        files.append(TensorFile(prefix + name, count, deviation, prefix + (stream or name), **options))

    for name in ("attention_norm.weight", "ffn_norm.weight"):
        add(name, hidden, 0.1, vector=True, mean=1.0)
    for rank in range(ranks):
        add(f"attention.w_qkv.{rank}.weight", hidden * qkv, hidden ** -0.5)
        add(f"attention.wo.{rank}.weight", hidden // ranks * hidden, RESIDUAL_GAIN * hidden ** -0.5)
        for name in ("w1", "w3"):
            add(f"feed_forward.{name}.{rank}.weight", hidden * inner, hidden ** -0.5)
        add(f"feed_forward.w2.{rank}.weight", inner * hidden, RESIDUAL_GAIN * shape.intermediate ** -0.5)
        if shape.attention_bias:
            add(f"attention.w_qkv.{rank}.bias", qkv, 0.5, vector=True)
            add(f"attention.wo.{rank}.bias", hidden, 0.02, "attention.wo.bias", vector=True)  # every rank has it all
    return files


def real_files(shape: Shape, distinct: int) -> list[TensorFile]:
    """All files but links and config.ini, the largest first."""
    rows = shape.vocab + -shape.vocab % shape.tensor_para_size
    tables = [TensorFile(name, rows * shape.hidden, deviation, name)
              for name, deviation in (("tok_embeddings.weight", 1.0), ("output.weight", shape.hidden ** -0.5))]
    norm = TensorFile("norm.weight", shape.hidden, 0.1, "norm.weight", vector=True, mean=1.0)
    layers = [file for layer in range(distinct) for file in layer_files(shape, layer)]
    return sorted([*tables, norm, *layers], key=lambda file: -file.count)


def config_ini(shape: Shape) -> str:
    """What the converter of release 0.3.0 writes."""
    values = {
        "model_name": shape.name, "tensor_para_size": shape.tensor_para_size, "head_num": shape.heads,
        "kv_head_num": shape.kv_heads, "vocab_size": shape.vocab, "num_layer": shape.layers,
        "inter_size": shape.intermediate, "norm_eps": shape.norm_eps, "attn_bias": int(shape.attention_bias),
        "start_id": 1, "end_id": 2, "session_len": shape.max_position_embeddings + 8,
        "weight_type": shape.weight_type, "rotary_embedding": shape.head_dim, "rope_theta": float(shape.rope_theta),
        "size_per_head": shape.head_dim, "group_size": 0, "max_batch_size": 64, "max_context_token_num": 1,
        "step_length": 1, "cache_max_entry_count": 0.8, "cache_block_seq_len": 64, "cache_chunk_size": -1,
        "num_tokens_per_iter": 0, "max_prefill_iters": 1, "extra_tokens_per_iter": 0, "use_context_fmha": 1,
        "quant_policy": 0, "max_position_embeddings": shape.max_position_embeddings, "rope_scaling_factor": 0.0,
        "use_dynamic_ntk": 0, "use_logn_attn": 0,
    }
    return "[llama]\n" + "".join(f"{name} = {value}\n" for name, value in values.items()) + "\n"


class RandomFiles:
    """Writes tensor files into a directory, matrices from pools."""

    def __init__(self, directory: Path, weight_type: str, seed: int):
        self.directory, self.weight_type, self.seed, self.pools = directory, weight_type, seed, {}

    def draw_pools(self, files: list[TensorFile], threads: ThreadPoolExecutor) -> None:
        totals = Counter()
        for file in files:
            if not file.vector:
                totals[file.deviation] += file.count
        drawn = threads.map(lambda deviation: self._draw(f"pool {deviation}", min(POOL, totals[deviation]), deviation),
                            totals)
        self.pools = dict(zip(totals, drawn))

    def _generator(self, stream: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(stream.encode())])

    def _draw(self, stream: str, count: int, deviation: float, mean: float = 0.0) -> np.ndarray:
        """Normal numbers in the model's 16-bit type, little endian."""
        numbers = self._generator(stream).standard_normal(count, dtype=np.float32)
        numbers *= np.float32(deviation)
        numbers += np.float32(mean)
        if self.weight_type == "fp16":
            return numbers.astype("<f2")
        return (numbers.view(np.uint32) >> 16).astype("<u2")  # cut off rather than rounded: random in any case

    def write(self, file: TensorFile) -> None:
        with open(self.directory / file.name, "wb") as stream:
            if file.vector:
                stream.write(self._draw(file.stream, file.count, file.deviation, file.mean))
                return
            pool, left, generator = self.pools[file.deviation], file.count, self._generator(file.stream)
            while left:
                start = int(generator.integers(len(pool)))
                piece = pool[start:start + min(left, PIECE)]
                stream.write(piece)
                left -= len(piece)


def write_files(directory: Path, files: list[TensorFile], weight_type: str, seed: int) -> None:
    with ThreadPoolExecutor(CORES) as threads:
        random_files = RandomFiles(directory, weight_type, seed)
        random_files.draw_pools(files, threads)
        for _ in threads.map(random_files.write, files):  # the first failure cancels the rest
            pass


def link_layers(directory: Path, shape: Shape, distinct: int) -> None:
    for layer in range(distinct, shape.layers):
        for source, target in zip(layer_files(shape, layer % distinct), layer_files(shape, layer)):
            try:
                os.link(directory / source.name, directory / target.name)
            except OSError as failure:
                raise Failure(f"{directory}: hard links cannot be made here ({failure.strerror}); leave out "
                              "--distinct-layers, or choose another file system") from None


def check_output(output: Path, ids: Path | None, needed: int) -> None:
    for option, path in ("--output", output), ("--ids", ids):
        if path and not path.parent.is_dir():
            raise Failure(f"{option} {path}: the folder {path.parent} is not there")
        empty = option == "--output" and path.is_dir() and not any(path.iterdir())
        if path and os.path.lexists(path) and not empty:
            raise Failure(f"{option} {path}: is there already; name a new one")
    free = shutil.disk_usage(output if output.is_dir() else output.parent).free
    if needed > free:
        raise Failure(f"--output {output}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB free; a smaller "
                      "--distinct-layers needs less")


def run(options: argparse.Namespace) -> None:
    started = time.monotonic()
    shape = read_preset(options.config, tensor_para_size=options.tp, layers=options.layers)
    distinct = options.distinct_layers or shape.layers
    if distinct > shape.layers:
        raise Failure(f"--distinct-layers {distinct}: the model has {shape.layers} layers")
    files = real_files(shape, distinct)
    written = sum(2 * file.count for file in files)
    check_output(options.output, options.ids, written + BLOCK * len(files))
    options.output.mkdir(exist_ok=True)
    try:
        write_files(options.output, files, shape.weight_type, options.seed)
        link_layers(options.output, shape, distinct)
        if options.ids:
            random = np.random.default_rng(options.seed)
            np.save(options.ids, random.integers(shape.vocab, size=(options.windows, options.length), dtype=np.int32))
        (options.output / "config.ini").write_text(config_ini(shape))  # last: without it this is no weights directory
    except BaseException:
        shutil.rmtree(options.output.resolve(), ignore_errors=True)
        if options.ids:
            options.ids.unlink(missing_ok=True)
        raise
    seconds = time.monotonic() - started
    print(f"{options.output}: {written} bytes in {seconds:.2f} s, {written / 1e9 / seconds:.2f} GB/s; "
          f"{distinct} real and {shape.layers - distinct} linked layers")


def parse(arguments: list[str]) -> argparse.Namespace:
    def at_least(least: int):
        def number(text: str) -> int:
            value = int(text)
            if value < least:
                raise ValueError
            return value
        return number

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="a preset, as configs/NAME.json")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="new or empty")
    parser.add_argument("--tp", type=at_least(1), metavar="N", help="ranks (default: the preset's tensor_para_size)")
    parser.add_argument("--layers", type=at_least(1), metavar="L", help="default: the preset's")
    parser.add_argument("--distinct-layers", type=at_least(1), metavar="K", help="the others are links (default: all)")
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="S", help="default %(default)s")
    parser.add_argument("--ids", type=Path, metavar="FILE.npy", help="write windows of random ids here, too")
    parser.add_argument("--windows", type=at_least(1), metavar="N", help="how many")
    parser.add_argument("--length", type=at_least(1), metavar="M", help="tokens of a window")
    options = parser.parse_args(arguments)
    if len({options.ids is None, options.windows is None, options.length is None}) > 1:
        parser.error("--ids, --windows and --length: give all three or none")
    if options.ids and options.ids.suffix != ".npy":
        parser.error(f"argument --ids: {options.ids} must end in .npy")
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        run(options)
    except (Failure, OSError, MemoryError) as failure:
        print(f"make_checkpoint.py: error: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
