# SPDX-License-Identifier: Apache-2.0
"""Writes a model as the weights directory that LMDeploy's deploy.py (v0.0.2 to v0.3.0) would write."""

import shutil
from pathlib import Path

import numpy as np
import torch

from reference.models import Model

# The keys in the order in which each release writes them, with the values that do not depend on the model.
CONFIG_KEYS = {
    "0.0.12": ("model_name head_num kv_head_num size_per_head vocab_size num_layer rotary_embedding rope_theta "
               "inter_size norm_eps attn_bias start_id end_id weight_type group_size=0 max_batch_size=32 "
               "max_context_token_num=4 session_len step_length=1 cache_max_entry_count=48 cache_chunk_size=1 "
               "use_context_fmha=1 quant_policy=0 tensor_para_size max_position_embeddings use_dynamic_ntk "
               "use_logn_attn"),
    "0.3.0": ("model_name tensor_para_size head_num kv_head_num vocab_size num_layer inter_size norm_eps attn_bias "
              "start_id end_id session_len weight_type rotary_embedding rope_theta size_per_head group_size=0 "
              "max_batch_size=64 max_context_token_num=1 step_length=1 cache_max_entry_count=0.8 "
              "cache_block_seq_len=64 cache_chunk_size=-1 num_tokens_per_iter=0 max_prefill_iters=1 "
              "extra_tokens_per_iter=0 use_context_fmha=1 quant_policy=0 max_position_embeddings "
              "rope_scaling_factor use_dynamic_ntk use_logn_attn"),
}


def config_ini(model: Model, ranks: int, release: str = "0.3.0", changes: dict | None = None) -> str:
    """The text of config.ini. `changes` replaces values; None takes a key away."""
    values = {
        "model_name": model.template, "tensor_para_size": ranks,
        "head_num": model.heads, "kv_head_num": model.kv_heads, "size_per_head": model.head_dim,
        "rotary_embedding": model.head_dim, "vocab_size": model.vocab, "num_layer": model.layers,
        "inter_size": model.intermediate, "norm_eps": model.norm_eps, "rope_theta": float(model.rope_theta),
        "attn_bias": int(model.attention_bias), "start_id": model.start_id, "end_id": model.end_id,
        "session_len": model.session_len, "weight_type": model.weight_type,
        "max_position_embeddings": model.max_position_embeddings,
        "rope_scaling_factor": float(model.rope_scaling_factor),
        "use_dynamic_ntk": int(model.use_dynamic_ntk), "use_logn_attn": int(model.use_logn_attn),
    }
    lines = {}
    for key in CONFIG_KEYS[release].split():
        name, _, constant = key.partition("=")
        lines[name] = constant or values[name]
    for name, value in (changes or {}).items():
        if value is None:
            lines.pop(name, None)
        else:
            lines[name] = value
    return "[llama]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items()) + "\n"


def to_interleaved_pairs(tensor: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Half-rotated q or k [heads * head_dim, ...] as pairs: row 2j + s of a head is its row s * head_dim/2 + j."""
    halves = tensor.reshape(-1, 2, head_dim // 2, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def write_directory(model: Model, directory: Path, ranks: int = 1, *, release: str = "0.3.0",
                    changes: dict | None = None) -> Path:
    """Writes weights and config.ini into `directory`, and the tokenizer into the folder `tokenizer` beside it."""
    directory = Path(directory)
    directory.mkdir(parents=True)
    for whole in ("heads", "kv_heads", "intermediate"):
        if getattr(model, whole) % ranks:
            raise ValueError(f"{whole} = {getattr(model, whole)} does not divide over {ranks} ranks")
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[model.weight_type]

    def dump(name: str, tensor: torch.Tensor) -> None:
        bits = tensor.to(dtype).contiguous().view(torch.int16)
        bits.numpy().astype("<i2", copy=False).tofile(directory / name)

    padding = -model.vocab % ranks
    for name, source in (("tok_embeddings.weight", "model.embed_tokens.weight"), ("output.weight", "lm_head.weight")):
        table = model.tensors[source]
        dump(name, torch.cat([table, table.new_zeros(padding, table.shape[1])]))
    dump("norm.weight", model.tensors["model.norm.weight"])
    for layer in range(model.layers):
        _write_layer(model, layer, ranks, dump)

    (directory / "config.ini").write_text(config_ini(model, ranks, release, changes))
    if model.tokenizer:
        beside = directory.parent / "tokenizer"
        beside.mkdir(exist_ok=True)
        shutil.copyfile(model.tokenizer, beside / "tokenizer.model")
    return directory


def _write_layer(model: Model, layer: int, ranks: int, dump) -> None:
    source, target = f"model.layers.{layer}.", f"layers.{layer}."

    def projection(name: str, kind: str) -> torch.Tensor:
        tensor = model.tensors[f"{source}{name}_proj.{kind}"]
        if name in ("self_attn.q", "self_attn.k") and not model.interleaved:
            tensor = to_interleaved_pairs(tensor, model.head_dim)
        return tensor.t() if kind == "weight" else tensor

    def qkv(kind: str) -> list[torch.Tensor]:
        """Of each rank: its q heads, then its k heads, then its v heads, along the last dimension."""
        parts = [projection(f"self_attn.{name}", kind).chunk(ranks, dim=-1) for name in "qkv"]
        return [torch.cat(of_rank, dim=-1) for of_rank in zip(*parts)]

    dump(target + "attention_norm.weight", model.tensors[source + "input_layernorm.weight"])
    dump(target + "ffn_norm.weight", model.tensors[source + "post_attention_layernorm.weight"])
    split = {"attention.w_qkv": qkv("weight"),
             "attention.wo": projection("self_attn.o", "weight").chunk(ranks, dim=0),
             "feed_forward.w1": projection("mlp.gate", "weight").chunk(ranks, dim=1),
             "feed_forward.w3": projection("mlp.up", "weight").chunk(ranks, dim=1),
             "feed_forward.w2": projection("mlp.down", "weight").chunk(ranks, dim=0)}
    for name, slices in split.items():
        for rank, piece in enumerate(slices):
            dump(f"{target}{name}.{rank}.weight", piece)
    if model.attention_bias:
        for rank, piece in enumerate(qkv("bias")):
            dump(f"{target}attention.w_qkv.{rank}.bias", piece)
            dump(f"{target}attention.wo.{rank}.bias", projection("self_attn.o", "bias"))


def weight_files(directory: Path) -> list[Path]:
    """The weight and bias files of a directory, without scales and config."""
    return sorted(file for file in Path(directory).iterdir()
                  if file.suffix in (".weight", ".bias") and ".past_kv_scale." not in file.name)


def edit_tensor(file: Path, index: int, value: float, weight_type: str = "fp16") -> None:
    """Overwrites one element of a weight file."""
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[weight_type]
    bits = np.fromfile(file, "<i2")
    bits[index] = torch.tensor([value], dtype=dtype).view(torch.int16).item()
    bits.tofile(file)
