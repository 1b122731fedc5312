#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the GPU's ranges against the CPU's and against themselves.

usage: check_gpu_ranges.py [--program build-ci/kvcalib] [--work DIR]

Models: the embedded one, and a random one of 96M parameters in eight shards, each as fp16 and as bf16. The CPU computes
in fp32. The largest difference of a channel's minimum or maximum, relative to the widest value of its layer, must stay
within 2e-3 for fp16 and 1e-2 for bf16. On the GPU a second run and other micro-batches must give the same bytes.
Prints a table; exit code 1 when something is off.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
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
        raise SystemExit(f"{config}: expected weight_type = fp16")
    config.write_text(text.replace("weight_type = fp16", "weight_type = bf16"))


class Check:
    def __init__(self, program: Path, work: Path):
        self.program, self.work, self.failed, self.count = program, work, False, 0

    def calibrate(self, weights: Path, data: Path, device: str, *options: str) -> Path:
        self.count += 1
        output = self.work / f"output-{self.count}"
        done = subprocess.run([self.program, "calibrate", "--weights", weights, "--data", data, "--devices", device,
                               "--output", output, "--quiet", *options], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"kvcalib calibrate --weights {weights} --devices {device}: {done.stderr.strip()}")
        return output / "kv_stats.safetensors"

    def row(self, name: str, found: str, holds: bool) -> None:
        self.failed |= not holds
        print(f"| {name} | {found} | {'yes' if holds else 'NO'} |", flush=True)

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
            self.row(f"{name}, {weight_type}: {' '.join(changes) or 'a second run'}", "same bytes" if same else "differs",
                     same)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", type=Path, default=ROOT / "build-ci/kvcalib")
    parser.add_argument("--work", type=Path, help="where the weights go while it runs (default: the system's choice)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work, prefix="kvcalib-check-") as folder:
        work = Path(folder)
        check = Check(options.program.resolve(), work)
        print("| check | found | holds |\n|---|---|---|", flush=True)
        preset = json.loads((ROOT / "configs/llama-96m.json").read_text())
        for weight_type in TOLERANCE:
            tiny = work / f"tiny-{weight_type}"
            shutil.copytree(ROOT / "configs/tiny-4m", tiny)
            if weight_type == "bf16":
                to_bfloat16(tiny / "weights")
            check.model("tiny-4m", tiny / "weights", tiny / "text.jsonl", weight_type, "--samples", "16", "--length", "512")

            config, ids = work / f"{weight_type}.json", work / f"{weight_type}.npy"
            config.write_text(json.dumps(preset | {"weight_type": weight_type}))
            subprocess.run([sys.executable, ROOT / "scripts/make_checkpoint.py", "--config", config, "--tp", "8", "--output",
                            work / f"eight-{weight_type}", "--ids", ids, "--windows", "11", "--length", "2048"], check=True,
                           stdout=subprocess.DEVNULL)
            check.model("96M in 8 shards", work / f"eight-{weight_type}", ids, weight_type)
    return int(check.failed)


if __name__ == "__main__":
    sys.exit(main())
