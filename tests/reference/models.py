# SPDX-License-Identifier: Apache-2.0
"""Llama models in memory, under their Hugging Face names: small random ones and those read from files."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file


@dataclass
class Model:
    """A decoder's shape and tensors; projections are [out, in] as Hugging Face stores them."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_scaling_factor: float = 0.0
    use_dynamic_ntk: bool = False
    use_logn_attn: bool = False
    max_position_embeddings: int = 2048
    session_len: int = 2056
    attention_bias: bool = False
    weight_type: str = "fp16"
    start_id: int = 1
    end_id: int = 2
    template: str = "llama2"
    # Whether q and k rotate pairs (2j, 2j + 1), as TurboMind and llama2.c do, rather than (j, j + d/2).
    interleaved: bool = False
    tokenizer: Path | None = None
    tensors: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    @property
    def hidden(self) -> int:
        return self.heads * self.head_dim


def random_model(seed: int, *, layers=3, heads=2, kv_heads=None, head_dim=128, intermediate=None,
                 vocab=320, attention_bias=False, key_gain=2.0, **options) -> Model:
    """A model whose activations keep the size of a trained one's: residual growth is slow, K spans several units."""
    kv_heads = kv_heads or heads
    model = Model(layers=layers, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
                  intermediate=intermediate or 3 * heads * head_dim, vocab=vocab,
                  attention_bias=attention_bias, **options)
    generator = torch.Generator().manual_seed(seed)
    hidden = model.hidden

    def normal(*shape, scale=1.0):
        return torch.randn(*shape, generator=generator) * scale

    def projection(rows, columns, gain=1.0):
        return normal(rows, columns, scale=gain / math.sqrt(columns))

    def norm():
        return 1.0 + normal(hidden, scale=0.1)

    tensors = {"model.embed_tokens.weight": normal(vocab, hidden),
               "model.norm.weight": norm(),
               "lm_head.weight": projection(vocab, hidden)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        attention = prefix + "self_attn."
        rows = {"q": heads * head_dim, "k": kv_heads * head_dim, "v": kv_heads * head_dim}
        for name, gain in (("q", 1.0), ("k", key_gain), ("v", 1.0)):
            tensors[f"{attention}{name}_proj.weight"] = projection(rows[name], hidden, gain)
        tensors[attention + "o_proj.weight"] = projection(hidden, hidden, 0.5)
        if attention_bias:
            for name in "qkv":
                tensors[f"{attention}{name}_proj.bias"] = normal(rows[name], scale=0.7)
            tensors[attention + "o_proj.bias"] = normal(hidden, scale=0.2)
        tensors[prefix + "mlp.gate_proj.weight"] = projection(model.intermediate, hidden)
        tensors[prefix + "mlp.up_proj.weight"] = projection(model.intermediate, hidden)
        tensors[prefix + "mlp.down_proj.weight"] = projection(hidden, model.intermediate, 0.7)
        tensors[prefix + "input_layernorm.weight"] = norm()
        tensors[prefix + "post_attention_layernorm.weight"] = norm()
    model.tensors = tensors
    return model


def read_hugging_face(directory: Path) -> Model:
    """A Llama in Hugging Face layout: config.json, safetensors files, tokenizer.model."""
    directory = Path(directory)
    config = json.loads((directory / "config.json").read_text())
    tensors = {}
    for file in sorted(directory.glob("*.safetensors")):
        tensors.update(load_file(file))
    if config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    tokenizer = directory / "tokenizer.model"
    return Model(layers=config["num_hidden_layers"], heads=config["num_attention_heads"],
                 kv_heads=config["num_key_value_heads"], head_dim=config["head_dim"],
                 intermediate=config["intermediate_size"], vocab=config["vocab_size"],
                 norm_eps=config["rms_norm_eps"], rope_theta=config["rope_theta"],
                 max_position_embeddings=config["max_position_embeddings"],
                 session_len=4104,  # of the template llama2: 4096 tokens and the 8 that converters add
                 attention_bias=config["attention_bias"],
                 weight_type={"float16": "fp16", "bfloat16": "bf16"}[config["torch_dtype"]],
                 start_id=config["bos_token_id"], end_id=config["eos_token_id"],
                 tokenizer=tokenizer if tokenizer.exists() else None, tensors=tensors)


def read_llama2c(file: Path) -> Model:
    """A llama2.c checkpoint (legacy format): 7 int32, then fp32 tensors [out, in], rotary pairs interleaved."""
    data = Path(file).read_bytes()
    hidden, intermediate, layers, heads, kv_heads, vocab, positions = np.frombuffer(data, "<i4", 7).tolist()
    if vocab < 0:
        raise ValueError(f"{file}: an untied head is not supported")
    values = torch.from_numpy(np.frombuffer(data, "<f4", offset=28).copy())
    position = 0

    def take(*shape):
        nonlocal position
        count = math.prod(shape)
        piece = values[position:position + count].view(*shape)
        position += count
        return piece

    kv = kv_heads * hidden // heads
    embedding = take(vocab, hidden)
    tensors = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding}
    for name, shape in (("input_layernorm", (hidden,)), ("self_attn.q_proj", (hidden, hidden)),
                        ("self_attn.k_proj", (kv, hidden)), ("self_attn.v_proj", (kv, hidden)),
                        ("self_attn.o_proj", (hidden, hidden)), ("post_attention_layernorm", (hidden,)),
                        ("mlp.gate_proj", (intermediate, hidden)), ("mlp.down_proj", (hidden, intermediate)),
                        ("mlp.up_proj", (intermediate, hidden))):
        stacked = take(layers, *shape)
        for layer in range(layers):
            tensors[f"model.layers.{layer}.{name}.weight"] = stacked[layer]
    tensors["model.norm.weight"] = take(hidden)
    return Model(layers=layers, heads=heads, kv_heads=kv_heads, head_dim=hidden // heads,
                 intermediate=intermediate, vocab=vocab, max_position_embeddings=positions,
                 session_len=positions + 8, interleaved=True, tensors=tensors)
