# SPDX-License-Identifier: Apache-2.0
"""The scales that methods of histograms make of a statistics file, from their formulas: to compare the program with."""

import math
import struct

import numpy as np

BINS, LEAST_EXPONENT, FRACTIONS, STEPS = 1024, -14, 128, 255
SMALLEST_SCALE = np.float32(2.0**-24)


class Heads:
    """K or V of some kv heads of a layer, as the file tells of it."""

    def __init__(self, tensors: dict[str, np.ndarray], tensor: str, layer: int, heads: slice):
        part = {name: tensors[f"{tensor}.{name}"][layer, heads]
                for name in ("minimum", "maximum", "counts", "importance", "extremes")}
        self.low = min(np.float32(0), part["minimum"].min())
        self.high = max(np.float32(0), part["maximum"].max())
        self.extremes = part["extremes"].astype(np.float64)  # [heads, left out, 2]
        self.masses = {name: part[name].astype(np.float64) for name in ("counts", "importance")}

    def ends(self, left_out: int = 0) -> tuple[float, float]:
        return float(self.extremes[:, left_out, 0].min()), float(self.extremes[:, left_out, 1].max())

    def histogram(self, name: str) -> tuple[np.ndarray, float]:
        """The mass of each bin over all heads, and the width of a bin."""
        span = half_span(*self.ends())
        mass = np.zeros(BINS)
        for own, extremes in zip(self.masses[name], self.extremes):
            ratio = int(span / half_span(*extremes[0]))
            np.add.at(mass, (np.arange(BINS) - BINS // 2) // ratio + BINS // 2, own)
        return mass, span * 2 / BINS


def half_span(low: float, high: float) -> float:
    """The smallest power of two that is larger than both, from 2^-14 on."""
    farthest = max(-low, high)
    return 2.0 ** max(math.frexp(farthest)[1] if farthest > 0 else LEAST_EXPONENT, LEAST_EXPONENT)


def moments(mass: np.ndarray) -> np.ndarray:
    """Mass, first and second moment of the first 0, 1, ... 1024 of these bins; the caller orders them."""
    middle = np.arange(BINS) + 0.5 - BINS / 2
    return np.stack([np.concatenate([[0.0], np.cumsum(terms)])
                     for terms in (mass, mass * middle, mass * (middle * middle + 1 / 12))], 1)


def tail(mass: float, first: float, second: float, part: float, middle: float, rest: float, code: float
         ) -> tuple[float, float]:
    """What lies beyond, whole bins and a part of one: its mass and its squared distance from a code."""
    return (mass + part, second - 2 * code * first + code * code * mass
            + part * ((middle - code) * (middle - code) + rest * rest / 12))


class SquaredError:
    def __init__(self, mass: np.ndarray):
        self.mass = mass
        self.below = moments(mass)
        middle = np.arange(BINS)[::-1] + 0.5 - BINS / 2
        backward = [np.concatenate([[0.0], np.cumsum(terms)])[::-1]
                    for terms in (mass[::-1], mass[::-1] * middle, mass[::-1] * (middle * middle + 1 / 12))]
        self.above = np.stack(backward, 1)

    def of(self, low: float, high: float) -> float:
        """In squared widths; the range in widths."""
        step = (high - low) / STEPS
        over, under = (0.0, 0.0), (0.0, 0.0)
        place = high + BINS / 2
        if place < BINS:
            bin = math.floor(place)
            rest = 1 - (place - bin)
            over = tail(*self.above[bin + 1], self.mass[bin] * rest, bin + 1 - BINS / 2 - rest / 2, rest,
                        high - step / 2)
        place = low - step + BINS / 2
        if place > 0:
            bin = math.floor(place)
            rest = place - bin
            under = tail(*self.below[bin], self.mass[bin] * rest, bin - BINS / 2 + rest / 2, rest, low - step / 2)
        within = self.above[0][0] - over[0] - under[0]
        return step * step / 12 * within + over[1] + under[1]


def least_error(heads: Heads, name: str) -> tuple[float, float]:
    mass, width = heads.histogram(name)
    low, high = heads.ends()
    error = SquaredError(mass)
    best, least = (1.0, 1.0), math.inf
    for i in range(FRACTIONS, 0, -1):
        for j in range(FRACTIONS, 0, -1):
            found = error.of(i / FRACTIONS * low / width, j / FRACTIONS * high / width)
            if found < least:
                best, least = (i / FRACTIONS, j / FRACTIONS), found
    return best


def central_share(heads: Heads, percent: float) -> tuple[float, float]:
    mass, width = heads.histogram("counts")
    share = np.cumsum(mass)[-1] * ((100 - percent) / 200)
    fractions = []
    for extreme, bins, sign in zip(heads.ends(), (mass, mass[::-1]), (1, -1)):
        before = np.concatenate([[0.0], np.cumsum(bins)])
        passed = np.flatnonzero(before[1:] > share)
        place = passed[0] + (share - before[passed[0]]) / bins[passed[0]] if len(passed) else BINS
        end = sign * (place - BINS / 2) * width
        fractions.append(min(max(end / extreme, 1 / FRACTIONS), 1.0) if extreme else 1.0)
    return fractions[0], fractions[1]


def divergence(mass: np.ndarray, first: int, last: int) -> float:
    within = mass[first:last]
    level = np.arange(len(within)) * STEPS // len(within)
    level_mass, level_bins = np.zeros(STEPS), np.zeros(STEPS)
    np.add.at(level_mass, level, within)
    np.add.at(level_bins, level, within > 0)
    coded = [level_mass[i] / level_bins[i] if own > 0 else 0.0 for i, own in zip(level, within)]
    true = within.copy()
    for value in mass[:first]:
        true[0] += value
    for value in mass[last:]:
        true[-1] += value
    total, coded_total, found = np.cumsum(true)[-1], np.cumsum(coded)[-1], 0.0
    for own, other in zip(true, coded):
        if own > 0 and other == 0:
            return math.inf
        if own > 0:
            found += own / total * math.log((own / total) / (other / coded_total))
    return found


def least_divergence(heads: Heads) -> tuple[float, float]:
    mass, width = heads.histogram("counts")
    low, high = heads.ends()
    best, least = 1.0, math.inf
    for i in range(FRACTIONS, 0, -1):
        first = math.floor(i / FRACTIONS * low / width + BINS / 2)
        last = min(math.floor(i / FRACTIONS * high / width + BINS / 2) + 1, BINS)
        if i < FRACTIONS and last - first < 256:
            break
        found = divergence(mass, first, last)
        if found < least:
            best, least = i / FRACTIONS, found
    return best, best


def without_sinks(heads: Heads, tokens: int) -> tuple[float, float]:
    return tuple(max(apart / whole, 1 / FRACTIONS) if whole else 1.0
                 for apart, whole in zip(heads.ends(tokens), heads.ends()))


def fractions_of(heads: Heads, method: str, parameter: float) -> tuple[float, float]:
    if method == "percentile":
        return central_share(heads, parameter)
    if method == "entropy":
        return least_divergence(heads)
    if method == "sinks-apart":
        return without_sinks(heads, int(parameter))
    return least_error(heads, {"mse": "counts", "importance": "importance"}[method])


def scale_and_zero(heads: Heads, method: str, parameter: float) -> tuple[np.float32, np.float32]:
    low, high = fractions_of(heads, method, parameter)
    margin = parameter if method == "importance" else 1.0
    low, high = (np.float32(min(fraction * margin, 1.0) * float(end))
                 for fraction, end in ((low, heads.low), (high, heads.high)))
    return max((high - low) / np.float32(STEPS), SMALLEST_SCALE), (high + low) * np.float32(0.5)


def scale_files(tensors: dict[str, np.ndarray], ranks: int, method: str, parameter: float = 0.0) -> dict[str, bytes]:
    """File name to bytes, for every layer and serving rank."""
    layers, kv_heads, _ = tensors["key.minimum"].shape
    files = {}
    for layer in range(layers):
        for rank in range(ranks):
            heads = slice(rank * kv_heads // ranks, (rank + 1) * kv_heads // ranks)
            numbers = [number for tensor in ("key", "value")
                       for number in scale_and_zero(Heads(tensors, tensor, layer, heads), method, parameter)]
            files[f"layers.{layer}.past_kv_scale.{rank}.weight"] = struct.pack("<4f", *numbers)
    return files
