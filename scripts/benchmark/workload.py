# SPDX-License-Identifier: Apache-2.0
"""What most rows of bench.py run: a weights directory, and token windows for it."""

from dataclasses import dataclass
from pathlib import Path

from benchmark.session import ROOT, Session
from benchmark.shapes import Shape, read_preset, read_weights


@dataclass(frozen=True)
class Model:
    shape: Shape
    weights: Path
    windows: int
    length: int
    ids: Path

    @property
    def text(self) -> str:
        return f"{self.shape.name}, {self.windows} x {self.length}"


def choose_model(session: Session) -> Model:
    """96M on a CPU, 7B on a GPU, or what --weights names."""
    length = 2048
    windows = (128, 16) if session.on_gpu else (8, 2)
    windows = windows[session.quick]
    if session.weights:
        weights, shape = session.weights, read_weights(session.weights)
    else:
        preset = ROOT / "configs" / ("llama-2-7b.json" if session.on_gpu else "llama-96m.json")
        shape = read_preset(preset)
        distinct = min(8, shape.layers)  # 3 GB of 7B: more than a cache holds
        weights = session.keep(session.checkpoint(preset, shape, distinct, shape.layers))
    return Model(shape, weights, windows, length, session.ids(windows, length, shape.vocab))
