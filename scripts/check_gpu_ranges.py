#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the GPU's ranges against the CPU's and against themselves.

usage: check_gpu_ranges.py [--program build-ci/kvcalib] [--work DIR]

Models: the embedded one, and a random one of 96M parameters in eight shards, each as fp16 and as bf16. The CPU computes
in fp32. The largest difference of a channel's minimum or maximum, relative to the widest value of its layer, must stay
within 2e-3 for fp16 and 1e-2 for bf16. On the GPU a second run and other micro-batches must give the same bytes.
Prints a table; exit code 1 when something is off.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from benchmark.checks import Checks, check_parser, random_weights, run_checks
from benchmark.session import ROOT, run
from benchmark.shapes import Failure

TOLERANCE = {"fp16": 2e-3, "bf16": 1e-2}
RANGES = (("key.minimum", "key.maximum"), ("value.minimum", "value.maximum"))
MICRO_BATCHES = (1, 4096, 65536)


def read_safetensors(file: Path) -> dict[str, np.ndarray]:
    data = file.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    return {name: np.frombuffer(data[end + entry["data_offsets"][0]:end + entry["data_offsets"][1]],
                                "<f4").reshape(entry["shape"])
            for name, entry in header.items() if name != "__metadata__" and entry["dtype"] == "F32"}


def to_bfloat16(directory: Path) -> None:
    """Turns a weights directory of fp16 into one of bf16."""
    for file in directory.glob("*.weight"):
        bits = np.fromfile(file, "<f2").astype("<f4").view("<u4")
        rounded = bits + 0x7FFF + (bits >> 16 & 1)
        (rounded >> 16).astype("<u2").tofile(file)
    config = directory / "config.ini"
    text = config.read_text()
    if "weight_type = fp16" not in text:
        raise Failure(f"{config}: expected weight_type = fp16")
    config.write_text(text.replace("weight_type = fp16", "weight_type = bf16"))


class RangeChecks(Checks):
    def calibrate(self, weights: Path, data: Path, device: str, *options: str) -> Path:
        output = self.output()
        run(*self.words(weights, data, output, device), "--quiet", *options)
        return output / "kv_stats.safetensors"

    def model(self, name: str, weights: Path, data: Path, weight_type: str, *options: str) -> None:
        on_gpu = self.calibrate(weights, data, "gpu:1", *options)
        gpu, cpu = read_safetensors(on_gpu), read_safetensors(self.calibrate(weights, data, "cpu", *options))
        worst = 0.0
        for pair in RANGES:
            widest = np.max([np.abs(cpu[part]).max(axis=(1, 2), keepdims=True) for part in pair], axis=0)
            worst = max(worst, *(float((np.abs(gpu[part] - cpu[part]) / widest).max()) for part in pair))
        tolerance = TOLERANCE[weight_type]
        self.row(f"{name}, {weight_type}: GPU against CPU", f"{worst:.1e} (at most {tolerance:g})", worst <= tolerance)
        for changes in ((), *(("--micro-batch", str(size)) for size in MICRO_BATCHES)):
            same = self.calibrate(weights, data, "gpu:1", *options, *changes).read_bytes() == on_gpu.read_bytes()
            self.same_bytes(f"{name}, {weight_type}: {' '.join(changes) or 'a second run'}", same)

    def run_all(self) -> None:
        for weight_type in TOLERANCE:
            tiny = self.work / f"tiny-{weight_type}"
            shutil.copytree(ROOT / "configs/tiny-4m", tiny)
            if weight_type == "bf16":
                to_bfloat16(tiny / "weights")
            self.model("tiny-4m", tiny / "weights", tiny / "text.jsonl", weight_type, "--samples", "16", "--length", "512")
            self.model("96M in 8 shards", *random_weights(self.work, "llama-96m", weight_type, 8, 11, 2048), weight_type)


if __name__ == "__main__":
    sys.exit(run_checks(RangeChecks, check_parser(__doc__).parse_args()))
