# SPDX-License-Identifier: Apache-2.0
"""An even cache by the formulas, on tensors under Llama's names: what kvcalib equalise is compared with.

Rotary pairs are Hugging Face's here, channels j and j + d/2 of a head; the statistics have them side by side."""

import math

import numpy as np
import torch

LARGEST = 256.0
LOWEST_BIT = {torch.float16: -24, torch.bfloat16: -133, torch.float32: -149}


def even_factors(ranges: np.ndarray) -> np.ndarray:
    """What makes each range the geometric mean of all."""
    known = [float(value) for value in ranges.ravel() if value > 0]
    target = math.exp(sum(math.log(value) for value in known) / len(known))
    factors = np.ones(ranges.shape)
    factors[ranges > 0] = np.clip(target / ranges[ranges > 0].astype(np.float64), 1 / LARGEST, LARGEST)
    return factors


def even_powers(minimum: np.ndarray, maximum: np.ndarray, together: int) -> np.ndarray:
    """Of ranges [heads, channels]: the largest power of two that keeps neighbours within their head's range."""
    low = minimum.reshape(minimum.shape[0], -1, together).min(axis=2)
    high = maximum.reshape(maximum.shape[0], -1, together).max(axis=2)
    factors = np.ones(low.shape)
    for head, channel in np.argwhere((low < 0) | (high > 0)):
        least, most = min(low[head].min(), 0), max(high[head].max(), 0)
        while (factors[head, channel] < LARGEST and least <= 2 * factors[head, channel] * low[head, channel] and
               2 * factors[head, channel] * high[head, channel] <= most):
            factors[head, channel] *= 2
    return factors


def ranges_of(statistics: dict[str, np.ndarray], layer: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest |K| [kv_heads, pairs] and |V| [kv_heads, channels]."""
    key, value = (np.maximum(np.abs(statistics[f"{name}.minimum"][layer]), np.abs(statistics[f"{name}.maximum"][layer]))
                  for name in ("key", "value"))
    return key.reshape(key.shape[0], -1, 2).max(axis=2), value


def multiplied(tensor: torch.Tensor, factors: np.ndarray, dtype: torch.dtype, axis: int) -> torch.Tensor:
    """Products in double, rounded to fp32 and once more to the type that the model is stored in."""
    shape = [1] * tensor.dim()
    shape[axis] = -1
    products = tensor.to(dtype).double() * torch.from_numpy(factors).view(shape)
    return products.float().to(dtype).float()


def holds_bits(tensor: torch.Tensor, exponent: float, dtype: torch.dtype) -> bool:
    moved = tensor.to(dtype).double() * exponent
    return bool((moved.to(dtype).double() == moved).all())


class Equalised:
    """The factors of one layer, and where they go."""

    def __init__(self, model, layer: int, statistics: dict[str, np.ndarray], dtype: torch.dtype, exact: bool):
        self.model, self.layer, self.dtype = model, layer, dtype
        self.norm = getattr(model, "query_key_norm", False)
        keys, values = ranges_of(statistics, layer)
        if exact:
            self.keys, self.values = (even_powers(statistics[f"{name}.minimum"][layer],
                                                  statistics[f"{name}.maximum"][layer], together)
                                      for name, together in (("key", 2), ("value", 1)))
            if self.norm:
                self.keys[:] = self.keys.min(axis=0)
            self._hold_bits()
        else:
            shared = np.broadcast_to(keys.max(axis=0), keys.shape) if self.norm else keys
            self.keys, self.values = even_factors(shared), even_factors(values)

    def places(self) -> list[tuple[str, int, np.ndarray, str, bool]]:
        """Of each tensor: its name, the axis, which pair or channel each entry is, of K or V, and whether it reads."""
        model, half = self.model, self.model.head_dim // 2
        group = model.heads // model.kv_heads
        pairs = np.arange(model.kv_heads * half).reshape(model.kv_heads, half)
        channels = np.arange(model.kv_heads * model.head_dim).reshape(model.kv_heads, -1)
        keys = np.concatenate([pairs, pairs], axis=1)  # both halves of a head
        queries, outputs = np.repeat(keys, group, axis=0), np.repeat(channels, group, axis=0)
        attention = f"model.layers.{self.layer}.self_attn."
        found = [(attention + "o_proj.weight", 1, outputs.ravel(), "values", True)]
        for kind in ("weight", "bias"):
            found.append((f"{attention}v_proj.{kind}", 0, channels.ravel(), "values", False))
            if not self.norm:
                found += [(f"{attention}q_proj.{kind}", 0, queries.ravel(), "keys", True),
                          (f"{attention}k_proj.{kind}", 0, keys.ravel(), "keys", False)]
        if self.norm:
            found += [(f"{attention}q_norm.weight", 0, keys[0], "keys", True),
                      (f"{attention}k_norm.weight", 0, keys[0], "keys", False)]
        return [place for place in found if place[0] in model.tensors]

    def _hold_bits(self):
        """Halves every factor until no weight loses a bit; those that heads share together."""
        for name, axis, entries, kind, reads in self.places():
            factors = getattr(self, kind)
            rows = self.model.tensors[name].movedim(axis, 0)
            for row, entry in zip(rows, entries):
                while factors.flat[entry] > 1 and not holds_bits(
                        row, 1 / factors.flat[entry] if reads else factors.flat[entry], self.dtype):
                    factors.flat[entry] /= 2
        if self.norm:
            self.keys[:] = self.keys[0]

    def apply(self, tensors: dict[str, torch.Tensor]):
        for name, axis, entries, kind, reads in self.places():
            factors = getattr(self, kind).ravel()[entries]
            tensors[name] = multiplied(tensors[name], 1 / factors if reads else factors, self.dtype, axis)


def equalised_tensors(model, statistics: dict[str, np.ndarray], dtype: torch.dtype, exact: bool = False
                      ) -> dict[str, torch.Tensor]:
    """The tensors of a model (a Model or a Decoder) that is stored in `dtype`, rounded to it, in fp32."""
    tensors = {name: tensor.to(dtype).float() for name, tensor in model.tensors.items()}
    for layer in range(model.layers):
        Equalised(model, layer, statistics, dtype, exact).apply(tensors)
    return tensors
