# SPDX-License-Identifier: Apache-2.0
"""What K's rotary pairs reach before they are rotated, and the ranges that longer sessions make of it, by the formulas."""

import math

import numpy as np
import torch

DIRECTIONS = 32


def reach_of(keys: torch.Tensor) -> torch.Tensor:
    """The largest k . (cos 2 pi i / 32, sin 2 pi i / 32) of K before its rotation, [heads, tokens, head_dim]: [heads,
    pairs, 32]."""
    angles = torch.arange(DIRECTIONS, dtype=torch.float64) * (2 * math.pi / DIRECTIONS)
    directions = torch.stack((angles.cos(), angles.sin())).to(keys.dtype)
    return (keys.unflatten(-1, (-1, 2)) @ directions).amax(1)


def largest_turns(frequencies_of, session: int) -> np.ndarray:
    """The angle by which each pair turns at most, by the last position of any request up to `session` tokens.
    `frequencies_of(tokens)`: the angle of each pair a token, for a request of so many."""
    return np.max([frequencies_of(tokens) * (tokens - 1) for tokens in range(1, session + 1)], axis=0)


def turned_ranges(statistics: dict[str, np.ndarray], turns: np.ndarray, dtype: torch.dtype) -> dict[str, np.ndarray]:
    """The ranges with K's as its pairs turn by any angle up to `turns`, in the type of the cache."""
    tensors = {name: tensor for name, tensor in statistics.items() if name != "key.reach"}
    reach = statistics["key.reach"]
    low, high = (statistics[f"key.{name}"].reshape(*reach.shape[:3], 2).copy() for name in ("minimum", "maximum"))
    for pair, turn in enumerate(turns):
        steps = min(math.ceil(turn / (2 * math.pi / DIRECTIONS)), DIRECTIONS - 1)
        for channel in (0, 1):
            for side, extreme in ((0, high), (16, low)):
                first = 8 * channel + side
                turned = reach[:, :, pair, [(first - step) % DIRECTIONS for step in range(steps + 1)]].max(-1)
                place = extreme[:, :, pair, channel]
                place[...] = np.maximum(place, turned) if side == 0 else np.minimum(place, -turned)
    for name, extreme in (("key.minimum", low), ("key.maximum", high)):
        tensors[name] = torch.from_numpy(extreme.reshape(statistics[name].shape)).to(dtype).float().numpy()
    return tensors
