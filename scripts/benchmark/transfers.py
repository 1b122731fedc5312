# SPDX-License-Identifier: Apache-2.0
"""How fast files are read and memory is copied: bench_floor.py read and copy."""

import argparse
import mmap
import os
import statistics
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmark.gemm import Clock
from benchmark.shapes import GIGABYTE, Failure, machine, require_device, say

PIECE_BYTES = 8 << 20
COPY_BYTES = 64 << 20
COPY_SECONDS = 0.2
COPIES = 16  # pieces in turn, 1 GiB: more than any cache holds


def regular_files(directory: Path) -> list[tuple[str, int]]:
    """Path and size of the files below a directory, each inode once."""
    if not directory.is_dir():
        raise Failure(f"--files {directory}: not a directory")
    found = {}
    for folder, _, names in os.walk(directory):
        for name in sorted(names):
            path = Path(folder, name)
            status = path.stat()
            if path.is_file() and status.st_size:
                found.setdefault((status.st_dev, status.st_ino), (str(path), status.st_size))
    if not found:
        raise Failure(f"--files {directory}: holds no file with bytes to read")
    return list(found.values())


def forget(files: list[tuple[str, int]]) -> None:
    """Drops the files from the page cache; those on a RAM disk stay."""
    for path, _ in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # pages not yet written cannot be dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def read_pieces(pieces: deque, buffer: memoryview) -> None:
    """One thread's part: takes pieces (path, offset, bytes) until none is left."""
    while True:
        try:
            path, offset, left = pieces.popleft()
        except IndexError:
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            while left:
                count = os.preadv(descriptor, [buffer[:left]], offset)
                if count == 0:
                    raise Failure(f"{path}: ends at {offset}, {left} bytes early; is it being written?")
                offset, left = offset + count, left - count
        finally:
            os.close(descriptor)


def time_read(files: list[tuple[str, int]], threads: int) -> float:
    pieces = deque((path, offset, min(PIECE_BYTES, size - offset))
                   for path, size in files for offset in range(0, size, PIECE_BYTES))
    buffers = [mmap.mmap(-1, PIECE_BYTES) for _ in range(threads)]
    for buffer in buffers:
        buffer.write(bytes(PIECE_BYTES))  # so that no page is missing later
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        for done in [pool.submit(read_pieces, pieces, memoryview(buffer)) for buffer in buffers]:
            done.result()
        return time.perf_counter() - started


def run_read(options: argparse.Namespace) -> dict:
    files = regular_files(options.files)
    total = sum(size for _, size in files)
    runs = []
    for threads in options.threads:
        seconds = []
        for _ in range(options.repeat):
            if options.cold:
                forget(files)
            seconds.append(time_read(files, threads))
        rate = total / statistics.median(seconds) / GIGABYTE
        runs.append({"threads": threads, "seconds": seconds, "gigabytes_per_second": rate})
        say(f"{threads} threads: {rate:.2f} GB/s")
    best = max(runs, key=lambda run: run["gigabytes_per_second"])
    return {"benchmark": "read", "directory": str(options.files), "files": len(files), "bytes": total,
            "cold": options.cold, "piece_bytes": PIECE_BYTES, "runs": runs, "best_threads": best["threads"],
            "seconds": statistics.median(best["seconds"]), "gigabytes_per_second": best["gigabytes_per_second"]}


def copy_rate(clock: Clock, call, copied_bytes: int) -> float:
    return copied_bytes / clock.median(call, COPY_SECONDS) / GIGABYTE


def run_copy(options: argparse.Namespace) -> dict:
    require_device(options.device)
    clock = Clock(options.device, options.repeat)
    source, target = (torch.ones(COPIES * COPY_BYTES, dtype=torch.uint8, device=options.device) for _ in range(2))
    rate = copy_rate(clock, lambda: target.copy_(source), 2 * source.nbytes)
    say(f"copy within the {options.device}: {rate:.2f} GB/s")
    result = {"benchmark": "copy", **machine(options.device), "device_copy_bytes": source.nbytes,
              "device_copy_gigabytes_per_second": rate}  # bytes read and bytes written
    if options.device == "cuda":
        pinned = [torch.ones(COPY_BYTES, dtype=torch.uint8, pin_memory=True) for _ in range(COPIES)]
        pairs = list(zip(target.split(COPY_BYTES), pinned, strict=True))

        def copy_pieces() -> None:
            for piece, held in pairs:
                piece.copy_(held, non_blocking=True)

        rate = copy_rate(clock, copy_pieces, target.nbytes)
        say(f"pinned host to device: {rate:.2f} GB/s")
        result |= {"piece_bytes": COPY_BYTES, "host_to_device_gigabytes_per_second": rate}
    return result
