#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what no calibration on this machine can go below: the matrix products and the attention of all layers
(gemm), reading the files (read), and copying to the GPU (copy). One JSON object goes to stdout, progress to stderr.

A product of [m, k] and [k, n] counts 2 m n k flop; causal attention 4 windows length^2 / 2 heads head_dim. Gigabytes
are 1e9 bytes, teraflops 1e12 flop a second.
"""

import argparse
import sys
from pathlib import Path

from benchmark.gemm import run_gemm
from benchmark.shapes import add_device_options, positive, positive_list, run_and_report
from benchmark.transfers import run_copy, run_read


def positive_seconds(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def add_gemm(commands) -> None:
    parser = commands.add_parser("gemm", help="the products and the attention of all layers", allow_abbrev=False,
                                 description="Times one layer's products and attention on random data, each by itself "
                                             "and all in a row at a sustained rate, and multiplies by the layers.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, metavar="FILE", help="a preset's shape")
    source.add_argument("--weights", type=Path, metavar="DIR", help="the shape of a TurboMind weights directory")
    parser.add_argument("--windows", type=positive, required=True, metavar="N")
    parser.add_argument("--length", type=positive, required=True, metavar="N", help="tokens of a window")
    parser.add_argument("--micro-batch", type=positive, metavar="TOKENS",
                        help="tokens at a time, in whole windows; default 2048 on a CPU, 16384 on a GPU")
    parser.add_argument("--head", action="store_true",
                        help="also the product with the head, of all tokens but one a window")
    add_device_options(parser)
    parser.add_argument("--seconds", type=positive_seconds, default=3.0, metavar="S",
                        help="how long the whole layer is repeated at least; default %(default)s")
    parser.add_argument("--repeat", type=positive, default=3, metavar="N",
                        help="measurements, of which the median counts; default %(default)s")
    parser.set_defaults(run=run_gemm)


def add_read(commands) -> None:
    parser = commands.add_parser("read", help="reading all files of a directory", allow_abbrev=False,
                                 description="Reads every file in pieces of 8 MiB, by several threads.")
    parser.add_argument("--files", type=Path, required=True, metavar="DIR")
    parser.add_argument("--threads", type=positive_list, default=[1, 2, 4, 8, 16], metavar="N[,N...]",
                        help="each number is measured; default 1,2,4,8,16")
    parser.add_argument("--cold", action="store_true", help="drop the files from the page cache before each reading")
    parser.add_argument("--repeat", type=positive, default=3, metavar="N",
                        help="of each number of threads; the median counts; default %(default)s")
    parser.set_defaults(run=run_read)


def add_copy(commands) -> None:
    parser = commands.add_parser("copy", help="copying memory", allow_abbrev=False,
                                 description="Copies within the device and, on a GPU, from pinned host memory to it.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda", help="default %(default)s")
    parser.add_argument("--repeat", type=positive, default=5, metavar="N",
                        help="of each copy; the median counts; default %(default)s")
    parser.set_defaults(run=run_copy)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_gemm, add_read, add_copy):
        add(commands)
    return parser.parse_args(arguments)


def main() -> int:
    options = parse(sys.argv[1:])
    return run_and_report(options.run, options)


if __name__ == "__main__":
    sys.exit(main())
