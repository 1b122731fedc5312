#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times `generate` of Hugging Face's transformers on the prompts of a task file of rule gen (scripts/make_tasks.py), or
on random prompts of one length: greedy, one stream with its own 16-bit or fp32 cache, batched by length and padded on
the left, without import and load.

Prompts of a task end at the end token or its max_new_tokens; random ones have no end. A model with a tokenizer.model is
tokenised by SentencePiece, as kvcalib does it. Several batch sizes are measured, and the one with the lowest median
counts. One JSON object goes to stdout, progress to stderr.
"""

import argparse
import random
import statistics
import sys
import time
from pathlib import Path

import bench_hf
from benchmark.shapes import (GIGABYTE, Failure, add_device_options, machine, positive, positive_list, require_device,
                              run_and_report, say)
from benchmark.task_files import read_task


def fault(header: dict, items: list[dict]) -> str | None:
    if "max_new_tokens" not in header or any("ids" not in item and "prompt" not in item for item in items):
        return "it has no 'max_new_tokens', or items without 'prompt' and 'ids'"
    return None


def task_prompts(options: argparse.Namespace) -> tuple[list[list[int]], int]:
    """The prompts' tokens and how many are generated at most."""
    header, items = read_task(options.task, options.limit, ("gen",), fault, "a task file of rule gen")
    most_new = options.new or header["max_new_tokens"]
    if all("ids" in item for item in items):
        return [item["ids"] for item in items], most_new
    return encode(options, [item["prompt"] for item in items]), most_new


def encode(options: argparse.Namespace, prompts: list[str]) -> list[list[int]]:
    file = options.hf / "tokenizer.model"
    if not file.exists():
        return bench_hf.transformers.AutoTokenizer.from_pretrained(options.hf)(prompts).input_ids
    import sentencepiece
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(file))
    return [[pieces.bos_id()] + pieces.encode(prompt) for prompt in prompts]


def random_prompts(options: argparse.Namespace, vocab: int) -> list[list[int]]:
    generator = random.Random(0)
    return [[generator.randrange(vocab) for _ in range(options.length)] for _ in range(options.prompts)]


def generate(model, prompts: list[list[int]], most_new: int, end: list[int]) -> int:
    """Continues a batch; the number of tokens that it made, without what fills rows up."""
    torch = bench_hf.torch
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    with torch.inference_mode():
        found = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=most_new,
                               eos_token_id=end or None, pad_token_id=(end or [0])[0])[:, longest:]
    is_end = torch.isin(found, torch.tensor(end, device=found.device, dtype=found.dtype))
    ended = is_end.int().cumsum(1)
    return int(((ended == 0) | ((ended == 1) & is_end)).sum())


def measure(model, batch: int, prompts: list[list[int]], most_new: int, end: list[int],
            options: argparse.Namespace) -> dict:
    seconds = []
    generate(model, prompts[:batch], min(most_new, 8), end)  # the first of a shape is slower
    for _ in range(options.repeat):
        bench_hf.synchronise(options.device)
        started = time.perf_counter()
        tokens = sum(generate(model, prompts[first:first + batch], most_new, end)
                     for first in range(0, len(prompts), batch))
        bench_hf.synchronise(options.device)
        seconds.append(time.perf_counter() - started)
        say(f"batch {batch}: {seconds[-1]:.2f} s, {tokens / seconds[-1]:.0f} tokens/s")
    return {"batch": batch, "seconds": seconds, "median_seconds": statistics.median(seconds), "new_tokens": tokens}


def measure_all(model, prompts: list[list[int]], most_new: int, end: list[int], options: argparse.Namespace) -> list:
    results = []
    for batch in options.batch:
        try:
            results.append(measure(model, batch, prompts, most_new, end, options))
        except bench_hf.torch.OutOfMemoryError:
            say(f"batch {batch}: out of memory")
            bench_hf.torch.cuda.empty_cache()
    if not results:
        raise Failure(f"--batch {','.join(map(str, options.batch))}: none fits the memory; use a smaller one")
    return results


def run(options: argparse.Namespace) -> dict:
    import_seconds = bench_hf.import_libraries()
    require_device(options.device)
    started = time.perf_counter()
    model = bench_hf.load_model(options, "AutoModelForCausalLM")
    load_seconds = time.perf_counter() - started
    say(f"import {import_seconds:.2f} s, weights {load_seconds:.2f} s")
    if options.task:
        (prompts, most_new), end = task_prompts(options), model.config.eos_token_id
        end = end if isinstance(end, list) else [end]
    else:
        prompts, most_new, end = random_prompts(options, model.config.vocab_size), options.new, []
    prompts.sort(key=len, reverse=True)
    results = measure_all(model, prompts, most_new, end, options)
    best = min(results, key=lambda result: result["median_seconds"])
    return {"benchmark": "hugging_face_generate", **machine(options.device),
            "model": str(options.hf or options.config or options.weights),
            "dtype": str(model.dtype).removeprefix("torch."), "prompts": len(prompts),
            "prompt_tokens": sum(map(len, prompts)), "most_new_tokens": most_new, "import_seconds": import_seconds,
            "load_seconds": load_seconds, "batches": results, "best_batch": best["batch"],
            "seconds": best["median_seconds"], "new_tokens": best["new_tokens"],
            "tokens_per_second": best["new_tokens"] / best["median_seconds"],
            "peak_host_memory_gigabytes": bench_hf.host_peak_bytes() / GIGABYTE}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, metavar="FILE", help="random weights in the shape of a preset")
    source.add_argument("--weights", type=Path, metavar="DIR",
                        help="random weights in the shape of a TurboMind weights directory")
    source.add_argument("--hf", type=Path, metavar="DIR", help="the weights of a Hugging Face directory")
    parser.add_argument("--task", type=Path, metavar="FILE", help="a task file of rule gen, with --hf")
    parser.add_argument("--limit", type=positive, metavar="N", help="only its first N prompts")
    parser.add_argument("--prompts", type=positive, default=16, metavar="N",
                        help="random prompts, without --task; default %(default)s")
    parser.add_argument("--length", type=positive, default=1024, metavar="N",
                        help="tokens of each; default %(default)s")
    parser.add_argument("--new", type=positive, metavar="N",
                        help="tokens that are generated at most; default: the task's, of random prompts 32")
    add_device_options(parser)
    parser.add_argument("--batch", type=positive_list, default=[1, 16], metavar="B[,B...]",
                        help="prompts of a batch, each size measured; default 1,16")
    parser.add_argument("--repeat", type=positive, default=3, metavar="N", help="of each batch; default %(default)s")
    options = parser.parse_args(arguments)
    if options.hf and not (options.hf / "config.json").exists():
        parser.error(f"argument --hf: {options.hf / 'config.json'} is not there")
    if options.task and not options.hf:
        parser.error("argument --task: needs --hf, whose tokenizer cuts its prompts")
    if not options.task:
        options.new = options.new or 32
    return options


if __name__ == "__main__":
    sys.exit(run_and_report(run, parse(sys.argv[1:])))
