#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes configs/tiny-4m: a trained Hugging Face Llama cut for two TurboMind ranks, and text sampled from it.

usage: make_tiny_model.py HF_DIRECTORY [--output configs/tiny-4m] [--seed 0]
"""

import argparse
import json
import math
import random
import re
import shutil
import sys
import time
from pathlib import Path

import sentencepiece
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from reference.calibration import rms_norm  # noqa: E402
from reference.models import Model, read_hugging_face  # noqa: E402
from reference.turbomind_writer import write_directory  # noqa: E402

RANKS = 2
CONTEXT = 512  # what the model was trained at
KEPT = 256  # tokens carried over when the context is full
TEMPERATURE = 0.9
# Tokens of each document: (count, shortest, longest).
DOCUMENTS = ((16, 2200, 2700), (50, 650, 1300), (60, 80, 500))


class Sampler:
    """Continues a batch of texts with a cache of keys and values; positions start again when the context is full."""

    def __init__(self, model: Model, allowed: torch.Tensor, seed: int):
        self.model, self.forbidden = model, ~allowed
        self.weights = {name: tensor.float() for name, tensor in model.tensors.items()}
        self.generator = torch.Generator().manual_seed(seed)
        half = model.head_dim // 2
        frequencies = model.rope_theta ** (-torch.arange(half) / half)
        angles = torch.outer(torch.arange(CONTEXT), frequencies).repeat(1, 2)
        self.cosine, self.sine = angles.cos(), angles.sin()

    def _rotate(self, x: torch.Tensor, first: int) -> torch.Tensor:
        """Half-rotated RoPE on [batch, heads, tokens, head_dim]."""
        span = slice(first, first + x.shape[2])
        low, high = x.chunk(2, dim=-1)
        return x * self.cosine[span] + torch.cat((-high, low), dim=-1) * self.sine[span]

    def _forward(self, ids: torch.Tensor, first: int, cache: list) -> torch.Tensor:
        """Logits [batch, vocab] after the last of ids [batch, tokens], the first of which is at position `first`."""
        model, weights = self.model, self.weights
        x = weights["model.embed_tokens.weight"][ids]
        batch, tokens, _ = x.shape
        for layer in range(model.layers):
            prefix = f"model.layers.{layer}."
            n = rms_norm(x, weights[prefix + "input_layernorm.weight"], model.norm_eps)
            q, k, v = (torch.nn.functional.linear(n, weights[f"{prefix}self_attn.{name}_proj.weight"])
                       .view(batch, tokens, -1, model.head_dim).transpose(1, 2) for name in "qkv")
            cache[layer][0][:, :, first:first + tokens] = self._rotate(k, first)
            cache[layer][1][:, :, first:first + tokens] = v
            keys, values = (part[:, :, :first + tokens] for part in cache[layer])
            attention = torch.nn.functional.scaled_dot_product_attention(
                self._rotate(q, first), keys, values, is_causal=tokens > 1)
            x = x + torch.nn.functional.linear(attention.transpose(1, 2).reshape(batch, tokens, -1),
                                               weights[prefix + "self_attn.o_proj.weight"])
            n = rms_norm(x, weights[prefix + "post_attention_layernorm.weight"], model.norm_eps)
            gate, up = (torch.nn.functional.linear(n, weights[f"{prefix}mlp.{name}_proj.weight"])
                        for name in ("gate", "up"))
            x = x + torch.nn.functional.linear(torch.nn.functional.silu(gate) * up,
                                               weights[prefix + "mlp.down_proj.weight"])
        n = rms_norm(x[:, -1], weights["model.norm.weight"], model.norm_eps)
        return torch.nn.functional.linear(n, weights["lm_head.weight"])

    @torch.inference_mode()
    def documents(self, lengths: list[int]) -> list[list[int]]:
        """One list of ids of each length (longest first), each a document of its own."""
        texts = torch.full((len(lengths), 1), self.model.start_id)
        finished, cache, position = [], None, 0
        while lengths:
            if cache is None or position == CONTEXT:
                kept = texts[:, -KEPT:]
                shape = (len(lengths), self.model.kv_heads, CONTEXT, self.model.head_dim)
                cache = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(self.model.layers)]
                logits, position = self._forward(kept, 0, cache), kept.shape[1]
            else:
                logits = self._forward(texts[:, -1:], position, cache)
                position += 1
            logits[:, self.forbidden] = -math.inf
            chosen = torch.multinomial(torch.softmax(logits / TEMPERATURE, -1), 1, generator=self.generator)
            texts = torch.cat((texts, chosen), dim=1)
            while lengths and texts.shape[1] - 1 >= lengths[-1]:
                finished.append(texts[len(lengths) - 1, 1:].tolist())
                lengths = lengths[:-1]
                texts = texts[:len(lengths)]
                cache = [tuple(part[:len(lengths)] for part in of_layer) for of_layer in cache]
        return finished


def allowed_tokens(tokenizer: sentencepiece.SentencePieceProcessor) -> torch.Tensor:
    """All pieces but control tokens and lone bytes, of which only the line feed is sensible text."""
    newline = tokenizer.piece_to_id("<0x0A>")
    return torch.tensor([id == newline or not (tokenizer.is_control(id) or tokenizer.is_byte(id)
                                               or tokenizer.is_unknown(id))
                         for id in range(tokenizer.vocab_size())])


def write_text(model: Model, file: Path, seed: int) -> None:
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(model.tokenizer))
    generator = random.Random(seed)
    lengths = [generator.randint(shortest, longest) for count, shortest, longest in DOCUMENTS for _ in range(count)]
    sampled = Sampler(model, allowed_tokens(tokenizer), seed).documents(sorted(lengths, reverse=True))
    generator.shuffle(sampled)
    # What looks like somebody's telephone number becomes one that is nobody's.
    texts = [re.sub(r"\b\d{3}[-. ]\d{3}[-. ]\d{4}\b", "555-0100", tokenizer.decode(ids).strip()) for ids in sampled]
    file.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    counts = [len(tokenizer.encode(text)) + 1 for text in texts]
    print(f"{file}: {len(texts)} documents, {sum(counts)} tokens, {sum(n > 600 for n in counts)} of more than 600, "
          f"{sum(n > 2100 for n in counts)} of more than 2100, {file.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="Hugging Face directory with tokenizer.model")
    parser.add_argument("--output", type=Path, default=ROOT / "configs/tiny-4m", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the sampled text; default: %(default)s")
    arguments = parser.parse_args()
    started = time.monotonic()
    model = read_hugging_face(arguments.model)
    model.session_len = 2056  # 2048 tokens and the 8 that the converter adds
    shutil.rmtree(arguments.output / "weights", ignore_errors=True)
    write_directory(model, arguments.output / "weights", RANKS)
    write_text(model, arguments.output / "text.jsonl", arguments.seed)
    size = sum(file.stat().st_size for file in arguments.output.rglob("*") if file.is_file())
    print(f"{arguments.output}: {size / 1e6:.2f} MB in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
