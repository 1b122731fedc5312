# SPDX-License-Identifier: Apache-2.0
"""Greedy generation in plain PyTorch, to compare the program with: every token by a forward pass over the whole text,
whose K and V go through a cache as evaluate.py has it."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import silu

from reference.calibration import rms_norm, rotary_tables
from reference.evaluate import Cache, Decoder, rotate


@dataclass
class Step:
    token: int
    gap: float  # by which its logit is above the second one's


@torch.inference_mode()
def next_logits(decoder: Decoder, ids: list[int], prompt: int, cache: Cache, newest_is_exact: bool,
                runtime: str) -> torch.Tensor:
    """Logits [vocab] behind the last of `ids`, of which the first `prompt` ran as one prompt and each other was decoded
    on its own: where newest_is_exact, such a token attends to its own K and V before they go through the cache."""
    config, tokens = decoder.config, len(ids)
    tables = tuple(table.float() for table in rotary_tables(config, runtime, tokens))
    decoded = torch.zeros(tokens, dtype=torch.bool)
    decoded[prompt:] = newest_is_exact
    own = torch.diag(decoded)
    future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    x = decoder.embedding[torch.tensor(ids)]
    for number, layer in enumerate(decoder.layers):
        n = rms_norm(x, layer.attention_norm, config.norm_eps)
        q, k, v = ((n @ weight + bias).view(tokens, -1, config.head_dim).transpose(0, 1)
                   for weight, bias in zip(layer.qkv, layer.qkv_bias))
        q, k = (rotate(part, tables, decoder.interleaved) for part in (q, k))
        exact = Cache(cache.dtype)
        group = config.heads // config.kv_heads
        kept_k, kept_v, own_k, own_v = (part.repeat_interleave(group, dim=0) for part in (
            cache.through(k, number, 0), cache.through(v, number, 2), exact.through(k, number, 0),
            exact.through(v, number, 2)))
        scores = torch.where(own, q @ own_k.transpose(1, 2), q @ kept_k.transpose(1, 2)) / math.sqrt(config.head_dim)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        attended = weights.masked_fill(own, 0) @ kept_v + weights.masked_fill(~own, 0) @ own_v
        x = x + attended.transpose(0, 1).reshape(tokens, -1) @ layer.output + layer.output_bias
        gate, up, down = layer.feed_forward
        n = rms_norm(x, layer.ffn_norm, config.norm_eps)
        x = x + (silu(n @ gate) * (n @ up)) @ down
    return (rms_norm(x, decoder.norm, config.norm_eps) @ decoder.head[:config.vocab].T)[-1]


def greedy(decoder: Decoder, prompt: np.ndarray, count: int, cache: Cache, newest_is_exact: bool = False,
           runtime: str = "0.3.0") -> list[Step]:
    """`count` tokens behind a prompt of ids, the first of equally likely ones."""
    ids, steps = [int(id) for id in prompt], []
    for _ in range(count):
        logits = next_logits(decoder, ids, len(prompt), cache, newest_is_exact, runtime)
        first, second = logits.topk(2).values.tolist()
        steps.append(Step(int(logits.argmax()), first - second))
        ids.append(steps[-1].token)
    return steps
