# SPDX-License-Identifier: Apache-2.0
"""An evaluation in plain PyTorch, to compare the program with: a decoder in fp32 whose K and V go through the cache's
16 bits, or through int8, and what that does to the probabilities of the tokens.

It takes models in memory (models.py), with q and k as Hugging Face has them, and TurboMind directories as
calibration.py reads them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy, scaled_dot_product_attention, silu

from reference.calibration import Config, Directory, rms_norm, rotary_tables, rotate_pairs
from reference.models import Model


@dataclass
class Layer:
    """Matrices [in, out] and vectors of one decoder layer, whole, in fp32; q, k, v and the output have biases or 0."""

    attention_norm: torch.Tensor
    qkv: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    qkv_bias: tuple
    output: torch.Tensor
    output_bias: torch.Tensor | float
    ffn_norm: torch.Tensor
    feed_forward: tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # gate, up, down


@dataclass
class Decoder:
    config: Config
    interleaved: bool  # whether pairs (2j, 2j + 1) of q and k are rotated, rather than (j, j + d/2)
    embedding: torch.Tensor  # [rows, hidden]
    layers: list[Layer]
    norm: torch.Tensor
    head: torch.Tensor  # [rows, hidden], of which the first config.vocab count


@dataclass
class Cache:
    """How K and V are kept: rounded to `dtype`, or as they are without one; with scales [layers, ranks, 4], of
    k_scale, k_zero, v_scale, v_zero, through int8 and again rounded."""

    dtype: torch.dtype | None = torch.float16
    scales: np.ndarray | None = None

    def through(self, x: torch.Tensor, layer: int, first: int) -> torch.Tensor:
        """K (first = 0) or V (first = 2) of a layer, [kv_heads, tokens, head_dim], as it is read back."""
        x = x.to(self.dtype).float() if self.dtype else x
        if self.scales is None:
            return x
        ranks = torch.from_numpy(np.asarray(self.scales[layer], np.float32)).repeat_interleave(
            x.shape[0] // self.scales.shape[1], dim=0)
        scale, zero = ranks[:, first, None, None], ranks[:, first + 1, None, None]
        back = torch.clamp(torch.round((x - zero) / scale), -128, 127) * scale + zero
        return back.to(self.dtype).float() if self.dtype else back


@dataclass
class Scores:
    """By token of one window, in fp64 but for same_top, 0 for the first token: its surprise in nats behind those before
    it, and what the distribution that it was drawn from has to do with the first stream's."""

    surprise: np.ndarray
    divergence: np.ndarray | None = None  # KL(first || this)
    reverse_divergence: np.ndarray | None = None
    same_top: np.ndarray | None = None


def from_model(model: Model) -> Decoder:
    config = Config(layers=model.layers, heads=model.heads, kv_heads=model.kv_heads, head_dim=model.head_dim,
                    vocab=model.vocab, intermediate=model.intermediate, ranks=1, norm_eps=model.norm_eps,
                    rope_theta=model.rope_theta, rope_scaling_factor=model.rope_scaling_factor,
                    use_dynamic_ntk=model.use_dynamic_ntk, use_logn_attn=model.use_logn_attn,
                    max_position_embeddings=model.max_position_embeddings, attention_bias=model.attention_bias,
                    dtype=torch.bfloat16 if model.weight_type == "bf16" else torch.float16)

    def tensor(name):
        return model.tensors[name].float()

    def layer(number):
        prefix = f"model.layers.{number}."
        attention = prefix + "self_attn."

        def bias(name):
            return tensor(f"{attention}{name}_proj.bias") if model.attention_bias else 0.0
        return Layer(tensor(prefix + "input_layernorm.weight"),
                     tuple(tensor(f"{attention}{name}_proj.weight").T for name in "qkv"), tuple(map(bias, "qkv")),
                     tensor(attention + "o_proj.weight").T, bias("o"),
                     tensor(prefix + "post_attention_layernorm.weight"),
                     tuple(tensor(f"{prefix}mlp.{name}_proj.weight").T for name in ("gate", "up", "down")))
    return Decoder(config, model.interleaved, tensor("model.embed_tokens.weight"),
                   [layer(number) for number in range(model.layers)], tensor("model.norm.weight"),
                   tensor("lm_head.weight"))


def from_directory(path: Path) -> Decoder:
    """A TurboMind weights directory."""
    directory = Directory(path)
    config = directory.config

    def layer(number):
        biases = (directory.qkv(number, "bias"), directory.output_bias(number)) if config.attention_bias \
            else ((0.0, 0.0, 0.0), 0.0)
        return Layer(directory.norm(number, "attention_norm"), directory.qkv(number, "weight"), biases[0],
                     directory.output(number), biases[1], directory.norm(number, "ffn_norm"),
                     directory.feed_forward(number))
    embedding = directory.embedding()
    return Decoder(config, True, embedding, [layer(number) for number in range(config.layers)],
                   directory.tensor("norm.weight", directory.hidden),
                   directory.tensor("output.weight", *embedding.shape))


def read_scales(path: Path, layers: int) -> np.ndarray:
    """The scale files of a directory with four floats each: [layers, ranks, 4]."""
    ranks = len(list(Path(path).glob("layers.0.past_kv_scale.*.weight")))
    files = [[Path(path) / f"layers.{layer}.past_kv_scale.{rank}.weight" for rank in range(ranks)]
             for layer in range(layers)]
    return np.array([[np.fromfile(file, "<f4") for file in of_layer] for of_layer in files]).reshape(layers, ranks, 4)


def rotate(x: torch.Tensor, tables: tuple[torch.Tensor, torch.Tensor], interleaved: bool) -> torch.Tensor:
    if interleaved:
        return rotate_pairs(x, *tables)
    (first, second), (cosine, sine) = x.chunk(2, dim=-1), tables
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)


@torch.inference_mode()
def logits_of(decoder: Decoder, ids: np.ndarray, cache: Cache, runtime: str = "0.3.0") -> torch.Tensor:
    """Logits [tokens, vocab] of one window of ids [tokens], each behind the tokens up to its own."""
    config, tokens = decoder.config, len(ids)
    tables = tuple(table.float() for table in rotary_tables(config, runtime, tokens))
    query_scale = torch.ones(tokens, 1)
    if config.use_logn_attn:
        context, longest = torch.arange(1.0, tokens + 1)[:, None], config.max_position_embeddings
        query_scale = torch.where(context > longest, context.log() / math.log(longest), query_scale)
    x = decoder.embedding[torch.from_numpy(np.asarray(ids)).long()]
    for number, layer in enumerate(decoder.layers):
        n = rms_norm(x, layer.attention_norm, config.norm_eps)
        q, k, v = ((n @ weight + bias).view(tokens, -1, config.head_dim).transpose(0, 1)
                   for weight, bias in zip(layer.qkv, layer.qkv_bias))
        q = rotate(q, tables, decoder.interleaved) * query_scale
        k = cache.through(rotate(k, tables, decoder.interleaved), number, 0)
        v = cache.through(v, number, 2)
        k, v = (part.repeat_interleave(config.heads // config.kv_heads, dim=0) for part in (k, v))
        attention = scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).reshape(tokens, -1)
        x = x + attention @ layer.output + layer.output_bias
        gate, up, down = layer.feed_forward
        n = rms_norm(x, layer.ffn_norm, config.norm_eps)
        x = x + (silu(n @ gate) * (n @ up)) @ down
    return rms_norm(x, decoder.norm, config.norm_eps) @ decoder.head[:config.vocab].T


def behind_first(values: torch.Tensor) -> np.ndarray:
    """Values of all tokens but the first, with a 0 for that."""
    return np.concatenate([np.zeros(1, values.numpy().dtype), values.numpy()])


def scores_of(logits: torch.Tensor, ids: np.ndarray, first: torch.Tensor | None = None) -> Scores:
    """What a stream's logits [tokens, vocab] say of a window's ids, beside those of the first stream if given."""
    this = torch.log_softmax(logits[:-1].double(), dim=-1)
    targets = torch.from_numpy(np.asarray(ids[1:])).long()[:, None]
    scores = Scores(behind_first(-this.gather(1, targets)[:, 0]))
    if first is not None:
        other = torch.log_softmax(first[:-1].double(), dim=-1)
        scores.divergence = behind_first((other.exp() * (other - this)).sum(-1))
        scores.reverse_divergence = behind_first((this.exp() * (this - other)).sum(-1))
        scores.same_top = behind_first((this.argmax(-1) == other.argmax(-1)).to(torch.uint8))
    return scores


def evaluate(decoder: Decoder, windows: Iterator[np.ndarray], caches: list[Cache],
             runtime: str = "0.3.0") -> Iterator[list[Scores]]:
    """Of each window [tokens] the scores under every cache; the first cache is what the others are compared with."""
    for ids in windows:
        first = logits_of(decoder, ids, caches[0], runtime)
        yield [scores_of(first, ids)] + [scores_of(logits_of(decoder, ids, cache, runtime), ids, first)
                                         for cache in caches[1:]]


def task_value(logits: torch.Tensor, ids: np.ndarray, rule: str, start: int = 0) -> float:
    """What a choice's text of ids [tokens], its BOS among them, is worth by a rule of the task files; the smallest
    value is chosen, the first of equal ones.

    ppl        the cross-entropies of all tokens but the first, divided by the number of tokens, the first included
    ppl/(n-1)  the same divided by the number of cross-entropies
    ll         those of the tokens from `start` on
    """
    targets = torch.from_numpy(np.asarray(ids)).long()
    losses = cross_entropy(logits[:-1].double(), targets[1:], reduction="none")
    if rule == "ll":
        return losses[max(start, 1) - 1:].sum().item()
    return losses.sum().item() / (len(ids) - (1 if rule == "ppl/(n-1)" else 0))


def choose(values: list[float]) -> int:
    return values.index(min(values))
