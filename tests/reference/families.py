# SPDX-License-Identifier: Apache-2.0
"""Small random decoders of every supported family, as the Hugging Face directories that their publishers write."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file

# transformers has no code for these: their publishers ship it with the weights.
WITHOUT_TRANSFORMERS = ("InternLMForCausalLM", "InternLM2ForCausalLM", "QWenLMHeadModel", "BaiChuanForCausalLM",
                        "BaichuanForCausalLM")
MODEL_TYPES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral", "Qwen2ForCausalLM": "qwen2",
               "Qwen3ForCausalLM": "qwen3", "InternLMForCausalLM": "internlm", "InternLM2ForCausalLM": "internlm2",
               "QWenLMHeadModel": "qwen", "BaiChuanForCausalLM": "baichuan", "BaichuanForCausalLM": "baichuan"}
QKV_BIAS = ("QWenLMHeadModel", "Qwen2ForCausalLM")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass
class Decoder:
    """A decoder's shape, what its family adds to it, and its tensors in fp32, [out, in], under Llama's names."""

    architecture: str
    layers: int = 2
    hidden: int = 128
    heads: int = 4
    kv_heads: int = 4
    head_dim: int = 32
    intermediate: int = 160
    vocab: int = 200
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    max_positions: int = 2048
    rope_scaling: dict | None = None  # as published; QWenLMHeadModel has flags instead
    use_dynamic_ntk: bool = False
    use_logn_attn: bool = False
    attention_bias: bool = False  # of q, k, v and the output, where the family has a choice
    mlp_bias: bool = False  # of gate, up and down
    sliding_window: int | None = None
    tied: bool = False
    dtype: str = "float32"  # of the file; what is in it is exact in 16 bits
    config: dict = field(default_factory=dict)  # keys of config.json besides those that follow from the above
    tensors: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    @property
    def in_transformers(self) -> bool:
        return self.architecture not in WITHOUT_TRANSFORMERS

    @property
    def qkv_bias(self) -> bool:
        return self.attention_bias or self.architecture in QKV_BIAS

    @property
    def query_key_norm(self) -> bool:
        return self.architecture == "Qwen3ForCausalLM"


def random_decoder(seed: int, architecture: str, **shape) -> Decoder:
    """A decoder whose activations stay small and whose attention looks at many keys."""
    decoder = Decoder(architecture, **shape)
    generator = torch.Generator().manual_seed(seed)
    exact = torch.bfloat16 if decoder.dtype == "bfloat16" else torch.float16

    def normal(*shape, scale=1.0, mean=0.0):
        return (mean + scale * torch.randn(*shape, generator=generator)).to(exact).float()

    def projection(rows, columns, gain=1.0):
        return normal(rows, columns, scale=gain / math.sqrt(columns))

    hidden, inner = decoder.hidden, decoder.intermediate
    queries, keys = decoder.heads * decoder.head_dim, decoder.kv_heads * decoder.head_dim
    tensors = {"model.embed_tokens.weight": normal(decoder.vocab, hidden),
               "model.norm.weight": normal(hidden, scale=0.1, mean=1.0)}
    if not decoder.tied:
        tensors["lm_head.weight"] = projection(decoder.vocab, hidden)
    for layer in range(decoder.layers):
        prefix = f"model.layers.{layer}."
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        for name, rows, gain in (("q", queries, 1.0), ("k", keys, 1.5), ("v", keys, 1.0)):
            tensors[f"{attention}{name}_proj.weight"] = projection(rows, hidden, gain)
            if decoder.qkv_bias:
                tensors[f"{attention}{name}_proj.bias"] = normal(rows, scale=0.7)
        tensors[attention + "o_proj.weight"] = projection(hidden, queries)
        if decoder.attention_bias:
            tensors[attention + "o_proj.bias"] = normal(hidden, scale=0.3)
        if decoder.query_key_norm:
            for name in ("q_norm", "k_norm"):
                tensors[f"{attention}{name}.weight"] = normal(decoder.head_dim, scale=0.3, mean=1.0)
        for name, rows, columns in (("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)):
            tensors[f"{mlp}{name}_proj.weight"] = projection(rows, columns)
            if decoder.mlp_bias:
                tensors[f"{mlp}{name}_proj.bias"] = normal(rows, scale=0.5)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{name}.weight"] = normal(hidden, scale=0.1, mean=1.0)
    decoder.tensors = tensors
    return decoder


def config_json(decoder: Decoder) -> dict:
    """config.json with the keys that the family's publisher writes."""
    architecture = decoder.architecture
    config = {"architectures": [architecture], "model_type": MODEL_TYPES[architecture], "bos_token_id": 1,
              "eos_token_id": 2, "hidden_size": decoder.hidden, "intermediate_size": decoder.intermediate,
              "num_hidden_layers": decoder.layers, "num_attention_heads": decoder.heads,
              "vocab_size": decoder.vocab, "torch_dtype": decoder.dtype, "tie_word_embeddings": decoder.tied}
    if architecture == "QWenLMHeadModel":
        # Of both halves of the MLP together.
        config |= {"intermediate_size": 2 * decoder.intermediate, "layer_norm_epsilon": decoder.norm_eps,
                   "kv_channels": decoder.head_dim, "rotary_emb_base": decoder.rope_theta, "rotary_pct": 1.0,
                   "seq_length": decoder.max_positions, "max_position_embeddings": 4 * decoder.max_positions,
                   "use_dynamic_ntk": decoder.use_dynamic_ntk, "use_logn_attn": decoder.use_logn_attn,
                   "no_bias": True}
        return config | decoder.config
    config |= {"rms_norm_eps": decoder.norm_eps, "hidden_act": "silu",
               "max_position_embeddings": decoder.max_positions}
    if MODEL_TYPES[architecture] == "baichuan":
        return config | {"model_max_length": decoder.max_positions} | decoder.config
    if architecture == "InternLMForCausalLM":
        scaling = decoder.rope_scaling or {"type": "origin", "factor": 1.0}
        rotary = {"base": decoder.rope_theta, "type": scaling["type"], "scaling_factor": scaling["factor"]}
        return config | {"bias": decoder.attention_bias, "rotary": rotary} | decoder.config
    config |= {"num_key_value_heads": decoder.kv_heads, "rope_theta": decoder.rope_theta,
               "rope_scaling": decoder.rope_scaling}
    if architecture == "InternLM2ForCausalLM":
        return config | {"bias": decoder.attention_bias} | decoder.config
    if decoder.heads * decoder.head_dim != decoder.hidden or architecture == "Qwen3ForCausalLM":
        config["head_dim"] = decoder.head_dim
    if architecture in ("LlamaForCausalLM", "Qwen3ForCausalLM"):
        config["attention_bias"] = decoder.attention_bias
    if decoder.mlp_bias:
        config["mlp_bias"] = True
    if architecture == "MistralForCausalLM":
        config["sliding_window"] = decoder.sliding_window
    return config | decoder.config


def _internlm2(decoder: Decoder) -> dict[str, torch.Tensor]:
    """q, k and v in one tensor: of each kv head its q heads, its k head, its v head."""
    names = {"model.embed_tokens": "model.tok_embeddings", "lm_head": "output", ".input_layernorm": ".attention_norm",
             ".post_attention_layernorm": ".ffn_norm", ".self_attn.o_proj": ".attention.wo",
             ".mlp.gate_proj": ".feed_forward.w1", ".mlp.up_proj": ".feed_forward.w3",
             ".mlp.down_proj": ".feed_forward.w2"}
    tensors = _renamed(decoder, names)
    for layer in range(decoder.layers):
        for kind in ("weight", "bias") if decoder.qkv_bias else ("weight",):
            parts = [tensors.pop(f"model.layers.{layer}.self_attn.{name}_proj.{kind}") for name in "qkv"]
            grouped = [part.unflatten(0, (decoder.kv_heads, -1, decoder.head_dim)) for part in parts]
            tensors[f"model.layers.{layer}.attention.wqkv.{kind}"] = torch.cat(grouped, dim=1).flatten(0, 2)
    return tensors


def _qwen(decoder: Decoder) -> dict[str, torch.Tensor]:
    """The MLP is c_proj(w1 * silu(w2)): w2 is the gate."""
    names = {"model.embed_tokens": "transformer.wte", "model.norm": "transformer.ln_f",
             "model.layers.": "transformer.h.", ".input_layernorm": ".ln_1", ".post_attention_layernorm": ".ln_2",
             ".self_attn.o_proj": ".attn.c_proj", ".mlp.gate_proj": ".mlp.w2", ".mlp.up_proj": ".mlp.w1",
             ".mlp.down_proj": ".mlp.c_proj"}
    tensors = _renamed(decoder, names)
    for layer in range(decoder.layers):
        for kind in ("weight", "bias"):
            parts = [tensors.pop(f"transformer.h.{layer}.self_attn.{name}_proj.{kind}") for name in "qkv"]
            tensors[f"transformer.h.{layer}.attn.c_attn.{kind}"] = torch.cat(parts)
    return tensors


def _baichuan(decoder: Decoder) -> dict[str, torch.Tensor]:
    tensors = dict(decoder.tensors)
    for layer in range(decoder.layers):
        attention = f"model.layers.{layer}.self_attn."
        tensors[attention + "W_pack.weight"] = torch.cat([tensors.pop(f"{attention}{name}_proj.weight")
                                                          for name in "qkv"])
        # Published with the first version; no weight.
        tensors[attention + "rotary_emb.inv_freq"] = torch.ones(decoder.head_dim // 2)
    return tensors


def _renamed(decoder: Decoder, names: dict[str, str]) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, tensor in decoder.tensors.items():
        for part, other in names.items():
            name = name.replace(part, other)
        tensors[name] = tensor
    return tensors


def published(decoder: Decoder) -> dict[str, torch.Tensor]:
    """The tensors under their publisher's names, packed as the publisher packs them."""
    packers = {"internlm2": _internlm2, "qwen": _qwen, "baichuan": _baichuan}
    return packers.get(MODEL_TYPES[decoder.architecture], lambda unpacked: dict(unpacked.tensors))(decoder)


def write_directory(directory: Path, config: dict, tensors: dict[str, torch.Tensor], files: int = 1) -> Path:
    """Writes config.json and the tensors: one file, or several with an index."""
    directory = Path(directory)
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    names = sorted(tensors)
    if files == 1:
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        return directory
    weight_map = {}
    for index in range(files):
        file = f"model-{index + 1:05}-of-{files:05}.safetensors"
        part = {name: tensors[name] for name in names[index::files]}
        save_file(part, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    (directory / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    return directory


def save(decoder: Decoder, directory: Path, files: int = 1, rename=lambda name: name) -> Path:
    """As published; `rename` gives a tensor another name, or None for one that is left out."""
    tensors = {rename(name): tensor.to(DTYPES[decoder.dtype]).contiguous()
               for name, tensor in published(decoder).items() if rename(name)}
    return write_directory(directory, config_json(decoder), tensors, files)
