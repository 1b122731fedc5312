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


def session_ranges(statistics: dict[str, np.ndarray], frequencies: np.ndarray, window: int, session: int,
                   dtype: torch.dtype) -> dict[str, np.ndarray]:
    """The ranges with K's at all positions below `session`, in the type of the cache. `frequencies`: the angle of each
    pair a token; window 0: every pair is turned."""
    tensors = {name: tensor for name, tensor in statistics.items() if name != "key.reach"}
    if session <= window:
        return tensors
    reach = statistics["key.reach"]
    low, high = (statistics[f"key.{name}"].reshape(*reach.shape[:3], 2).copy() for name in ("minimum", "maximum"))
    directions = [math.ceil(frequency * (session - 1) / (2 * math.pi / DIRECTIONS)) for frequency in frequencies]
    seen = [math.ceil(frequency * (window - 1) / (2 * math.pi / DIRECTIONS)) for frequency in frequencies]
    for pair, steps in enumerate(directions):
        if window and seen[pair] >= DIRECTIONS - 1:
            continue
        for channel in (0, 1):
            for side, extreme in ((0, high), (16, low)):
                first = 8 * channel + side
                turned = reach[:, :, pair, [(first - step) % DIRECTIONS for step in range(min(steps, 31) + 1)]].max(-1)
                place = extreme[:, :, pair, channel]
                place[...] = np.maximum(place, turned) if side == 0 else np.minimum(place, -turned)
    for name, extreme in (("key.minimum", low), ("key.maximum", high)):
        rounded = torch.from_numpy(extreme.reshape(statistics[name].shape)).to(dtype).float().numpy()
        tensors[name] = rounded
    return tensors
