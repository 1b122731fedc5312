# SPDX-License-Identifier: Apache-2.0
"""A calibrator in plain PyTorch that follows the TurboMind directory format, to compare the program with.

It shares no code with the directory writer: what one misunderstands, the other finds out.
"""

import configparser
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from reference.session import largest_turns, reach_of, turned_ranges

SMALLEST_SCALE = np.float32(2.0**-24)
RANGE_NAMES = ("key.minimum", "key.maximum", "value.minimum", "value.maximum")


@dataclass
class Config:
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    intermediate: int
    ranks: int
    norm_eps: float
    rope_theta: float
    rope_scaling_factor: float
    use_dynamic_ntk: bool
    use_logn_attn: bool
    max_position_embeddings: int
    attention_bias: bool
    dtype: torch.dtype

    @classmethod
    def read(cls, directory: Path) -> "Config":
        parser = configparser.ConfigParser(strict=True, inline_comment_prefixes=(" ;",))
        parser.read(Path(directory) / "config.ini")
        ini = parser["llama"]
        return cls(layers=ini.getint("num_layer"), heads=ini.getint("head_num"),
                   kv_heads=ini.getint("kv_head_num", ini.getint("head_num")), head_dim=ini.getint("size_per_head"),
                   vocab=ini.getint("vocab_size"), intermediate=ini.getint("inter_size"),
                   ranks=ini.getint("tensor_para_size", 1), norm_eps=ini.getfloat("norm_eps"),
                   rope_theta=ini.getfloat("rope_theta", 10000.0),
                   rope_scaling_factor=ini.getfloat("rope_scaling_factor", 0.0),
                   use_dynamic_ntk=bool(ini.getint("use_dynamic_ntk", 0)),
                   use_logn_attn=bool(ini.getint("use_logn_attn", 0)),
                   max_position_embeddings=ini.getint("max_position_embeddings", 0),
                   attention_bias=bool(ini.getint("attn_bias")),
                   dtype=torch.bfloat16 if ini.get("weight_type") == "bf16" else torch.float16)


def release(version: str) -> tuple[int, int, int]:
    major, minor, patch = version.split(".")
    return int(major), int(minor), int(patch)


def rotary_base(config: Config, runtime: str, limit: int) -> tuple[float, float]:
    """The base of the rotary frequencies and the factor on positions, for a request of at most `limit` tokens."""
    version, longest, factor = release(runtime), config.max_position_embeddings, config.rope_scaling_factor
    exponent = config.head_dim / (config.head_dim - 2)
    base = config.rope_theta if version >= (0, 0, 8) else 10000.0
    if version < (0, 0, 6):
        return base, 1.0
    if version < (0, 1, 0):
        if config.use_dynamic_ntk and limit >= longest:
            alpha = max(2.0 ** math.ceil(math.log2(limit / longest) + 1) - 1, 1.0)
            base *= alpha**exponent
        return base, 1.0
    growth = factor * limit / longest - (factor - 1) if limit > longest > 0 else None
    if version < (0, 3, 0):
        if factor >= 1:
            short = factor if version < (0, 2, 0) else 1.0
            base *= (short if growth is None else growth) ** exponent
        return base, 1.0
    if config.use_dynamic_ntk:
        if factor >= 1 and growth is not None:
            base *= growth**exponent
        return base, 1.0
    return base, 1.0 / factor if factor else 1.0


def rotary_frequencies(config: Config, runtime: str, tokens: int) -> np.ndarray:
    """The angle of each pair a token, for a request of at most `tokens`."""
    base, position_factor = rotary_base(config, runtime, tokens)
    return base ** (-np.arange(0, config.head_dim, 2) / config.head_dim) * position_factor


def served_ranges(statistics: dict[str, np.ndarray], config: Config, runtime: str, window: int, session: int
                  ) -> dict[str, np.ndarray]:
    """The ranges of sessions, where the windows were shorter."""
    if session <= window:
        return {name: tensor for name, tensor in statistics.items() if name != "key.reach"}
    turns = largest_turns(lambda tokens: rotary_frequencies(config, runtime, tokens), session)
    return turned_ranges(statistics, turns, config.dtype)


def rotary_tables(config: Config, runtime: str, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine [tokens, head_dim / 2]; angles in double, as single precision loses 1e-4 rad at position 2048."""
    base, position_factor = rotary_base(config, runtime, tokens)
    frequencies = base ** (-torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim)
    angles = torch.outer(torch.arange(tokens, dtype=torch.float64) * position_factor, frequencies)
    return angles.cos(), angles.sin()


def rotate_pairs(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotates channels (2j, 2j + 1) of [heads, tokens, head_dim]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1).flatten(-2)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight


class Directory:
    """A TurboMind weights directory whose tensors are handed out whole and widened to `precision`."""

    def __init__(self, path: Path, precision: torch.dtype = torch.float32):
        self.path, self.precision, self.config = Path(path), precision, Config.read(path)
        self.hidden = self.config.heads * self.config.head_dim

    def tensor(self, name: str, *shape: int) -> torch.Tensor:
        bits = np.fromfile(self.path / name, "<i2")
        if bits.size != math.prod(shape):
            raise ValueError(f"{name}: {bits.size} elements, expected {shape}")
        return torch.from_numpy(bits).view(self.config.dtype).to(self.precision).view(*shape)

    def embedding(self) -> torch.Tensor:
        rows = (self.path / "tok_embeddings.weight").stat().st_size // (2 * self.hidden)
        return self.tensor("tok_embeddings.weight", rows, self.hidden)

    def norm(self, layer: int, name: str) -> torch.Tensor:
        return self.tensor(f"layers.{layer}.{name}.weight", self.hidden)

    def _ranks(self, layer: int, name: str, kind: str, *shape: int) -> list[torch.Tensor]:
        return [self.tensor(f"layers.{layer}.{name}.{rank}.{kind}", *shape) for rank in range(self.config.ranks)]

    def qkv(self, layer: int, kind: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Whole q, k, v: weights [hidden, heads * head_dim], biases [heads * head_dim]."""
        config = self.config
        q = config.heads * config.head_dim // config.ranks
        kv = config.kv_heads * config.head_dim // config.ranks
        shape = (self.hidden, q + 2 * kv) if kind == "weight" else (q + 2 * kv,)
        slabs = [slab.split((q, kv, kv), dim=-1) for slab in self._ranks(layer, "attention.w_qkv", kind, *shape)]
        q_parts, k_parts, v_parts = zip(*slabs)
        return torch.cat(q_parts, -1), torch.cat(k_parts, -1), torch.cat(v_parts, -1)

    def output(self, layer: int) -> torch.Tensor:
        return torch.cat(self._ranks(layer, "attention.wo", "weight", self.hidden // self.config.ranks, self.hidden))

    def output_bias(self, layer: int) -> torch.Tensor:
        return self.tensor(f"layers.{layer}.attention.wo.0.bias", self.hidden)

    def feed_forward(self, layer: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gate and up [hidden, intermediate], down [intermediate, hidden]."""
        inner = self.config.intermediate // self.config.ranks
        gate, up = (torch.cat(self._ranks(layer, f"feed_forward.{name}", "weight", self.hidden, inner), dim=1)
                    for name in ("w1", "w3"))
        return gate, up, torch.cat(self._ranks(layer, "feed_forward.w2", "weight", inner, self.hidden))


@dataclass
class Ranges:
    """Minimum and maximum of K (after RoPE) and V, fp32 [layers, kv_heads, head_dim] each, by RANGE_NAMES."""

    tensors: dict[str, np.ndarray]
    dtype: torch.dtype
    reach: np.ndarray | None = None  # of K before RoPE, see session.py: [layers, kv_heads, head_dim / 2, 32]

    def rounded(self) -> "Ranges":
        """As the 16-bit cache holds them; rounding is monotonic, so the extremes may be rounded alone."""
        return Ranges({name: torch.from_numpy(tensor).to(self.dtype).float().numpy()
                       for name, tensor in self.tensors.items()}, self.dtype)


@torch.inference_mode()
def calibrate(path: Path, windows: np.ndarray, runtime: str = "0.3.0",
              precision: torch.dtype = torch.float32) -> Ranges:
    """The ranges over `windows` [windows, tokens] before they are rounded; each window is a request of its own."""
    directory = Directory(path, precision)
    config = directory.config
    tokens = windows.shape[1]
    cosine, sine = (table.to(precision) for table in rotary_tables(config, runtime, tokens))
    query_scale = torch.ones(tokens, 1, dtype=precision)
    if config.use_logn_attn:
        context = torch.arange(1, tokens + 1, dtype=precision)[:, None]
        longest = config.max_position_embeddings
        query_scale = torch.where(context > longest, context.log() / math.log(longest), query_scale)

    embedding = directory.embedding()
    hidden = [embedding[torch.from_numpy(window).long()] for window in windows]
    found, reach = {name: [] for name in RANGE_NAMES}, []
    for layer in range(config.layers):
        qkv = directory.qkv(layer, "weight")
        biases = directory.qkv(layer, "bias") if config.attention_bias else (0.0, 0.0, 0.0)
        norm = directory.norm(layer, "attention_norm")
        keys, values, queries, reached = [], [], [], []
        for x in hidden:
            n = rms_norm(x, norm, config.norm_eps)
            q, k, v = ((n @ weight + bias).view(tokens, -1, config.head_dim).transpose(0, 1)
                       for weight, bias in zip(qkv, biases))
            queries.append(rotate_pairs(q, cosine, sine) * query_scale)
            keys.append(rotate_pairs(k, cosine, sine))
            reached.append(reach_of(k))
            values.append(v)
        reach.append(torch.stack(reached).amax(0))
        for name, observed in (("key", keys), ("value", values)):
            extremes = [torch.aminmax(x, dim=1) for x in observed]
            found[name + ".minimum"].append(torch.stack([e.min for e in extremes]).amin(0))
            found[name + ".maximum"].append(torch.stack([e.max for e in extremes]).amax(0))
        if layer + 1 < config.layers:
            _finish_layer(directory, layer, hidden, queries, keys, values)
    return Ranges({name: torch.stack(parts).float().numpy() for name, parts in found.items()}, config.dtype,
                  torch.stack(reach).float().numpy())


def _finish_layer(directory: Directory, layer: int, hidden: list, queries: list, keys: list, values: list) -> None:
    """Attention and MLP of one layer, into `hidden`; releases q, k and v as it goes."""
    config = directory.config
    group = config.heads // config.kv_heads
    output = directory.output(layer)
    output_bias = directory.output_bias(layer) if config.attention_bias else 0.0
    norm = directory.norm(layer, "ffn_norm")
    gate, up, down = directory.feed_forward(layer)
    for index, x in enumerate(hidden):
        key, value = (t.repeat_interleave(group, dim=0) for t in (keys[index], values[index]))
        attention = torch.nn.functional.scaled_dot_product_attention(queries[index], key, value, is_causal=True)
        queries[index] = keys[index] = values[index] = None
        x = x + attention.transpose(0, 1).reshape(x.shape[0], -1) @ output + output_bias
        n = rms_norm(x, norm, config.norm_eps)
        hidden[index] = x + (torch.nn.functional.silu(n @ gate) * (n @ up)) @ down


def _scale_and_zero(minimum: np.float32, maximum: np.float32, symmetric: bool) -> tuple[np.float32, np.float32]:
    """Scale and zero of one tensor, every operation in fp32."""
    if symmetric:
        scale = np.float32(max(abs(minimum), abs(maximum))) / np.float32(127)
        return max(scale, SMALLEST_SCALE), np.float32(0)
    low, high = min(minimum, np.float32(0)), max(maximum, np.float32(0))
    return max((high - low) / np.float32(255), SMALLEST_SCALE), (high + low) * np.float32(0.5)


def scale_files(ranges: Ranges, serving_ranks: int, *, runtime: str = "0.3.0", symmetric: bool = False
                ) -> dict[str, bytes]:
    """File name to bytes for every layer and serving rank, from rounded ranges."""
    two_values = release(runtime) < (0, 0, 4)
    tensors = {name: np.asarray(tensor, np.float32) for name, tensor in ranges.tensors.items()}
    layers, kv_heads, _ = tensors["key.minimum"].shape
    per_rank = kv_heads // serving_ranks
    files = {}
    for layer in range(layers):
        for rank in range(serving_ranks):
            heads = slice(rank * per_rank, (rank + 1) * per_rank)
            numbers = []
            for tensor in ("key", "value"):
                scale, zero = _scale_and_zero(tensors[tensor + ".minimum"][layer, heads].min(),
                                              tensors[tensor + ".maximum"][layer, heads].max(),
                                              symmetric or two_values)
                numbers += [scale] if two_values else [scale, zero]
            files[f"layers.{layer}.past_kv_scale.{rank}.weight"] = struct.pack(f"<{len(numbers)}f", *numbers)
    return files
