#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times lm-evaluation-harness on the texts of task files (scripts/make_tasks.py): one stream, each text whole, batched
by length as the harness does it, without import and load. Task files are scored together; accuracy is by their rules.

The harness is no part of scripts/setup.sh: `pip install "lm_eval[hf]" sentencepiece` into a virtual environment of its
own. A model with a tokenizer.model is tokenised by SentencePiece, as kvcalib does it; any other by the harness. Several
batch sizes are measured, and the one with the lowest median counts. One JSON object goes to stdout, progress to
stderr.
"""

import argparse
import logging
import statistics
import sys
import time
from pathlib import Path

import bench_hf
from benchmark.shapes import (GIGABYTE, Failure, add_device_options, machine, positive, positive_list, require_device,
                              run_and_report, say)
from benchmark.task_files import read_task


def import_libraries() -> float:
    """Makes the harness known to this file; the seconds that took."""
    global HFLM, Instance
    seconds, started = bench_hf.import_libraries(), time.perf_counter()
    try:
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM
    except ImportError as missing:
        raise Failure(f"{missing}; install lm-evaluation-harness: pip install \"lm_eval[hf]\", best into one of its "
                      "own") from missing
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return seconds + time.perf_counter() - started


def read_scored_task(path: Path, limit: int | None) -> tuple[dict, list[dict]]:
    def fault(header: dict, items: list[dict]) -> str | None:
        if any("texts" not in item or header["rule"] == "ll" and "from" not in item for item in items):
            return "its items have no 'texts', or no 'from' for the rule ll"
        return None
    return read_task(path, limit, ("ppl", "ppl/(n-1)", "ll"), fault,
                     "a task file with texts, as scripts/make_tasks.py writes it without --tokenizer")


def requests_of(header: dict, items: list[dict]) -> list[tuple[str, str]]:
    """Context and continuation of each text; without context the harness puts the BOS in front."""
    places = [place for item in items for place in item.get("from", [0] * len(item["texts"]))]
    texts = [text for item in items for text in item["texts"]]
    return [(text[:place], text[place:]) for text, place in zip(texts, places)]


def make_scorer(options: argparse.Namespace, batch: int, model):
    """The harness's model around one that is loaded; texts become kvcalib's tokens."""
    file = options.hf / "tokenizer.model"
    bos, eos = model.config.bos_token_id, model.config.eos_token_id
    if not file.exists():
        return HFLM(pretrained=model, tokenizer=bench_hf.transformers.AutoTokenizer.from_pretrained(options.hf),
                    batch_size=batch, prefix_token_id=bos)
    import sentencepiece
    import tokenizers
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(file))
    stand_in = bench_hf.transformers.PreTrainedTokenizerFast(  # the harness wants one, and asks it for nothing more
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.WordLevel(
            {pieces.id_to_piece(number): number for number in (pieces.unk_id(), bos, eos)}, pieces.id_to_piece(0))),
        bos_token=pieces.id_to_piece(bos), eos_token=pieces.id_to_piece(eos), pad_token=pieces.id_to_piece(eos))

    class Scorer(HFLM):
        def tok_encode(self, string, add_special_tokens=None, **options):
            return ([] if add_special_tokens is False else [bos]) + pieces.encode(string)

    return Scorer(pretrained=model, tokenizer=stand_in, batch_size=batch, prefix_token_id=bos)


def accuracy(header: dict, items: list[dict], values: list[tuple[float, int]]) -> float:
    """The share of right choices; values: the log-likelihood and the number of tokens, BOS included, of each text."""
    divisors = {"ppl": lambda tokens: tokens, "ppl/(n-1)": lambda tokens: tokens - 1, "ll": lambda tokens: 1}
    scores, right = iter(values), 0
    for item in items:
        losses = [-likelihood / divisors[header["rule"]](tokens)
                  for _, (likelihood, tokens) in zip(item["texts"], scores)]
        right += losses.index(min(losses)) == item["gold"]
    return right / len(items)


def measure(model, batch: int, requests: list[tuple[str, str]], options: argparse.Namespace) -> tuple[dict, list, list]:
    """What one batch size costs, and each text's log-likelihood and number of tokens."""
    scorer = make_scorer(options, batch, model)
    counts = [1 + len(scorer.tok_encode(context + continuation, add_special_tokens=False))
              for context, continuation in requests]
    instances = [Instance(request_type="loglikelihood", doc={}, arguments=request, idx=number)
                 for number, request in enumerate(requests)]
    seconds = []
    for _ in range(options.repeat):
        bench_hf.synchronise(options.device)
        started = time.perf_counter()
        likelihoods = [value for value, _ in scorer.loglikelihood(instances, disable_tqdm=True)]
        seconds.append(time.perf_counter() - started)
        say(f"batch {batch}: {seconds[-1]:.2f} s")
    return {"batch": batch, "seconds": seconds, "median_seconds": statistics.median(seconds)}, likelihoods, counts


def run(options: argparse.Namespace) -> dict:
    import_seconds = import_libraries()
    require_device(options.device)
    tasks = [read_scored_task(path, options.limit) for path in options.tasks]
    requests = [request for task in tasks for request in requests_of(*task)]
    started = time.perf_counter()
    model = bench_hf.load_model(options, "AutoModelForCausalLM")
    load_seconds = time.perf_counter() - started
    say(f"import {import_seconds:.2f} s, weights {load_seconds:.2f} s")
    results = [measure(model, batch, requests, options) for batch in options.batch]
    best, likelihoods, counts = min(results, key=lambda result: result[0]["median_seconds"])
    values, seconds = iter(zip(likelihoods, counts)), best["median_seconds"]
    from lm_eval import __version__
    return {"benchmark": "lm_eval", **machine(options.device), "lm_eval": __version__, "model": str(options.hf),
            "dtype": str(model.dtype).removeprefix("torch."), "texts": len(requests), "tokens": sum(counts),
            "import_seconds": import_seconds, "load_seconds": load_seconds,
            "batches": [result[0] for result in results], "best_batch": best["batch"], "seconds": seconds,
            "total_seconds": import_seconds + load_seconds + seconds, "tokens_per_second": sum(counts) / seconds,
            "tasks": {header["task"]: {"items": len(items), "accuracy": accuracy(header, items, [
                next(values) for item in items for _ in item["texts"]])} for header, items in tasks},
            "peak_host_memory_gigabytes": bench_hf.host_peak_bytes() / GIGABYTE}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--hf", type=Path, required=True, metavar="DIR", help="a Hugging Face directory")
    parser.add_argument("--tasks", type=Path, nargs="+", required=True, metavar="FILE", help="task files with texts")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N items of each")
    add_device_options(parser)
    parser.add_argument("--batch", type=positive_list, default=[16], metavar="B[,B...]",
                        help="texts of a batch, each size measured; default 16")
    parser.add_argument("--repeat", type=positive, default=1, metavar="N", help="of each batch; default %(default)s")
    options = parser.parse_args(arguments)
    if not (options.hf / "config.json").exists():
        parser.error(f"argument --hf: {options.hf / 'config.json'} is not there")
    return options


if __name__ == "__main__":
    sys.exit(run_and_report(run, parse(sys.argv[1:])))
