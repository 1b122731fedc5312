# SPDX-License-Identifier: Apache-2.0
"""The K and V of a decoder of any family: from transformers' own code, and from the published architecture in a few
lines of PyTorch, for the families that transformers has no code for."""

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from reference.calibration import RANGE_NAMES, rms_norm
from reference.families import Decoder


def _ranges(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, np.ndarray]:
    """Minimum and maximum per channel, [layers, kv_heads, head_dim], of K and V [windows, kv_heads, tokens, head_dim]
    of each layer; K's channels, rotated as halves, put into TurboMind's order of neighbouring pairs."""
    found = {name: [] for name in RANGE_NAMES}
    for keys, values in layers:
        keys = keys.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)
        for name, observed in (("key", keys), ("value", values)):
            found[name + ".minimum"].append(observed.amin(dim=(0, 2)))
            found[name + ".maximum"].append(observed.amax(dim=(0, 2)))
    return {name: torch.stack(parts).float().numpy() for name, parts in found.items()}


@torch.inference_mode()
def transformers_ranges(directory: Path, windows: np.ndarray) -> dict[str, np.ndarray]:
    """What transformers' implementation of the directory's architecture keeps in its cache, in fp32."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoModelForCausalLM, DynamicCache
    from transformers.utils import logging
    logging.disable_progress_bar()
    model, report = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager",
                                                         output_loading_info=True)
    if report["missing_keys"] or report["unexpected_keys"]:
        raise ValueError(f"transformers does not read {directory} whole: {report}")
    cache = DynamicCache()  # without the model's config: one that keeps what slides out of a window
    model.model(torch.from_numpy(windows).long(), past_key_values=cache, use_cache=True)
    return _ranges([(layer.keys, layer.values) for layer in cache.layers])


def rotary_frequencies(decoder: Decoder, tokens: int) -> torch.Tensor:
    """Angle per position of each pair, in double, for a prompt of `tokens`."""
    scaling = decoder.rope_scaling or {}
    kind, trained = scaling.get("rope_type", scaling.get("type")), decoder.max_positions
    growth = 1.0
    if kind == "dynamic" and tokens > trained:
        growth = scaling["factor"] * tokens / trained - (scaling["factor"] - 1)
    if decoder.use_dynamic_ntk:
        growth = max(2.0 ** math.ceil(math.log2(tokens / trained) + 1) - 1, 1.0)
    base = decoder.rope_theta * growth ** (decoder.head_dim / (decoder.head_dim - 2))
    frequencies = base ** (-torch.arange(0, decoder.head_dim, 2, dtype=torch.float64) / decoder.head_dim)
    if kind == "linear":
        frequencies /= scaling["factor"]
    if kind == "llama3":
        turns = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        kept = ((turns - low) / (high - low)).clamp(0, 1)
        frequencies *= kept + (1 - kept) / scaling["factor"]
    return frequencies


class Prompt:
    """Rotation, visibility and logn scaling of prompts of one length."""

    def __init__(self, decoder: Decoder, tokens: int):
        angles = torch.outer(torch.arange(tokens, dtype=torch.float64), rotary_frequencies(decoder, tokens))
        self.cosine, self.sine = (torch.cat((table, table), -1).float() for table in (angles.cos(), angles.sin()))
        past = torch.arange(tokens)[:, None] - torch.arange(tokens)
        self.visible = (past >= 0) & (past < (decoder.sliding_window or tokens))
        self.query_scale = torch.ones(tokens, 1)
        if decoder.use_logn_attn and tokens > decoder.max_positions:
            context = torch.arange(1, tokens + 1, dtype=torch.float64)[:, None]
            self.query_scale = (context.log() / math.log(decoder.max_positions)).clamp(min=1).float()

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        """Rotates channels (j, j + head_dim / 2) of [windows, heads, tokens, head_dim]."""
        first, second = x.chunk(2, dim=-1)
        return x * self.cosine + torch.cat((-second, first), dim=-1) * self.sine


@torch.inference_mode()
def own_ranges(decoder: Decoder, windows: np.ndarray) -> dict[str, np.ndarray]:
    """The same from the published architecture."""
    prompt, layers = Prompt(decoder, windows.shape[1]), []
    x = decoder.tensors["model.embed_tokens.weight"][torch.from_numpy(windows).long()]
    for layer in range(decoder.layers):
        x, keys, values = _layer(decoder, prompt, f"model.layers.{layer}.", x)
        layers.append((keys, values))
    return _ranges(layers)


def _layer(decoder: Decoder, prompt: Prompt, prefix: str, x: torch.Tensor):
    """The layer's output, its K and its V."""
    def project(x, name):
        name = f"{prefix}{name}_proj"
        return linear(x, decoder.tensors[name + ".weight"], decoder.tensors.get(name + ".bias"))

    def norm(x, name):
        return rms_norm(x, decoder.tensors[f"{prefix}{name}.weight"], decoder.norm_eps)

    n = norm(x, "input_layernorm")
    q, k, v = (project(n, "self_attn." + name).unflatten(-1, (-1, decoder.head_dim)) for name in "qkv")
    if decoder.query_key_norm:
        q, k = norm(q, "self_attn.q_norm"), norm(k, "self_attn.k_norm")
    q, k, v = prompt.rotate(q.transpose(1, 2)) * prompt.query_scale, prompt.rotate(k.transpose(1, 2)), v.transpose(1, 2)
    keys, values = (t.repeat_interleave(decoder.heads // decoder.kv_heads, dim=1) for t in (k, v))
    attention = scaled_dot_product_attention(q, keys, values, attn_mask=prompt.visible)
    x = x + project(attention.transpose(1, 2).flatten(-2), "self_attn.o")
    n = norm(x, "post_attention_layernorm")
    return x + project(silu(project(n, "mlp.gate")) * project(n, "mlp.up"), "mlp.down"), k, v
