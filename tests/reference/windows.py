# SPDX-License-Identifier: Apache-2.0
"""Token windows for tests."""

import numpy as np


def random_windows(seed: int, windows: int, length: int, vocab: int) -> np.ndarray:
    """Token ids [windows, length], int32."""
    return np.random.default_rng(seed).integers(0, vocab, (windows, length), dtype=np.int32)
