# SPDX-License-Identifier: Apache-2.0
"""What the benchmark scripts share: a model's shape, the machine they run on, and how they report and fail."""

import argparse
import configparser
import json
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
GIGABYTE = 1e9


class Failure(Exception):
    """Something the user can mend: what was found, and what to do."""


@dataclass(frozen=True)
class Shape:
    """A decoder's dimensions, whole, never per rank."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    norm_eps: float
    rope_theta: float
    weight_type: str
    attention_bias: bool
    max_position_embeddings: int

    def products(self) -> dict[str, tuple[int, int]]:
        """Rows and columns [in, out] of the four matrices of a layer, and of the part of `qkv` that makes K and V."""
        kv = 2 * self.kv_heads * self.head_dim
        return {"qkv": (self.hidden, self.heads * self.head_dim + kv),
                "output": (self.heads * self.head_dim, self.hidden),
                "gate_up": (self.hidden, 2 * self.intermediate),
                "down": (self.intermediate, self.hidden),
                "kv": (self.hidden, kv)}

    def product_flop(self, name: str, tokens: int) -> int:
        rows, columns = self.products()[name]
        return 2 * tokens * rows * columns

    def attention_flop(self, windows: int, length: int) -> int:
        """Two products of length x length x head_dim a head, of which causality needs half."""
        return 4 * windows * length * length * self.heads * self.head_dim // 2


def read_preset(file: Path) -> Shape:
    try:
        preset = json.loads(file.read_text())
        shape = Shape(**{name: kind(preset[name]) for name, kind in Shape.__annotations__.items()})
    except (ValueError, TypeError) as failure:
        raise Failure(f"{file}: {failure}; expected a preset as in configs/") from failure
    except KeyError as missing:
        raise Failure(f"{file}: has no {missing}; expected a preset as in configs/") from missing
    return checked(shape, file)


def read_weights(directory: Path) -> Shape:
    file = directory / "config.ini"
    if not file.exists():
        raise Failure(f"{file}: not there; --weights wants a TurboMind weights directory")
    try:
        parser = configparser.ConfigParser(strict=True, inline_comment_prefixes=(" ;",))
        parser.read(file)
        ini = parser["llama"]
        heads, head_dim = int(ini["head_num"]), int(ini["size_per_head"])
        shape = Shape(
            name=ini.get("model_name", directory.name), layers=int(ini["num_layer"]), hidden=heads * head_dim,
            heads=heads, kv_heads=ini.getint("kv_head_num", heads), head_dim=head_dim,
            intermediate=int(ini["inter_size"]), vocab=int(ini["vocab_size"]), norm_eps=float(ini["norm_eps"]),
            rope_theta=ini.getfloat("rope_theta", 10000.0), weight_type=ini.get("weight_type", "fp16"),
            attention_bias=bool(ini.getint("attn_bias", 0)),
            max_position_embeddings=ini.getint("max_position_embeddings", 0))
    except KeyError as missing:
        raise Failure(f"{file}: has no {missing}; expected the config.ini of a TurboMind model") from missing
    except (configparser.Error, ValueError) as failure:
        raise Failure(f"{file}: {failure}; expected the config.ini of a TurboMind model") from failure
    return checked(shape, file)


def checked(shape: Shape, file: Path) -> Shape:
    numbers = (shape.layers, shape.heads, shape.kv_heads, shape.head_dim, shape.intermediate, shape.vocab)
    if min(numbers) <= 0 or shape.hidden != shape.heads * shape.head_dim or shape.heads % shape.kv_heads:
        raise Failure(f"{file}: hidden must be heads x head_dim, heads a multiple of kv_heads, all numbers positive")
    if shape.weight_type not in ("fp16", "bf16"):
        raise Failure(f"{file}: weight_type is {shape.weight_type}, expected fp16 or bf16")
    return shape


def positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def positive_list(text: str) -> list[int]:
    """Different positive numbers with commas between them, in rising order."""
    return sorted({positive(part) for part in text.split(",")})


def add_device_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default %(default)s")
    parser.add_argument("--dtype", choices=tuple(DTYPES), help="default: fp32 on a CPU, the model's own on a GPU")


def require_device(device: str) -> None:
    import torch
    if device == "cuda" and not torch.cuda.is_available():
        raise Failure("--device cuda: PyTorch finds no CUDA device here; use --device cpu")


def machine(device: str) -> dict:
    """The device's name, the threads of the CPU and the versions of what ran."""
    import torch
    if device == "cuda":
        name = torch.cuda.get_device_name()
    else:
        facts = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        names = [line.partition(":")[2].strip() for line in facts if line.startswith("model name")]
        name = names[0] if names else platform.machine()
    installed = {name: metadata.version(name) for name in ("transformers", "accelerate") if is_installed(name)}
    return {"device": device, "device_name": name, "threads": torch.get_num_threads(),
            "versions": {"python": platform.python_version(), "torch": torch.__version__,
                         "cuda": torch.version.cuda, **installed}}


def is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_and_report(run, options: argparse.Namespace) -> int:
    """Prints what `run` returns as one JSON object on stdout; the exit code."""
    try:
        result = run(options)
    except (Failure, OSError, MemoryError) as failure:
        say(f"{Path(sys.argv[0]).name}: error: {failure}")
        return 1
    print(json.dumps(result, indent=2))
    return 0
