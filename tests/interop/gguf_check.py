"""GGUF files written by the gguf package: what the engine and transformers read out of them. Use: PROGRAM WORK [SMOLLM2]"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFWriter, GGMLQuantizationType as Type, GGML_QUANT_SIZES
from gguf.quants import quantize
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

program, work = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
smollm2 = Path(sys.argv[3]) if len(sys.argv) > 3 else None
passed = failed = 0
TOLERANCE = 1e-4  # of logits, relative, both in f32
SCALES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}
FORMATS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", *SCALES]


def say(good, what):
    global passed, failed
    passed, failed = passed + good, failed + (not good)
    print(("ok   " if good else "FAIL ") + what, flush=True)


ROLES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.qkv_proj": "attn_qkv", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm", "embed_tokens": "token_embd", "norm": "output_norm",
    "lm_head": "output",
}


def name_of(arch, name):
    parts = name.removeprefix("model.").split(".")
    end = parts.pop()
    block = ""
    if parts[0] == "layers":
        block, parts = f"blk.{parts[1]}.", parts[2:]
    role = ".".join(parts)
    if arch in ("gemma2", "gemma3") and role == "post_attention_layernorm":
        return f"{block}post_attention_norm.{end}"
    return f"{block}{ROLES[role]}.{end}"


def laid(arch, name, values, heads, kv):
    """As llama.cpp's converter lays it: its LlamaModel.permute, and gains one higher for Gemma."""
    if arch.startswith("gemma") and "norm" in name:
        return values + 1
    n = {"attn_q": heads, "attn_k": kv}.get(name.split(".")[-2])
    if arch != "llama" or n is None:
        return values
    shape = values.shape
    return values.reshape(n, 2, shape[0] // n // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def blocks(values, form, rng):
    """The gguf package makes the older formats; of the k-quants it only reads, so their blocks are random."""
    kind = Type[form]
    if form in ("F32", "F16"):
        return values.astype(np.float32 if form == "F32" else np.float16), kind
    if form not in SCALES:
        return quantize(values.astype(np.float32), kind), kind
    block, size = GGML_QUANT_SIZES[kind]
    raw = rng.integers(0, 256, (*values.shape[:-1], values.shape[-1] // block, size), dtype=np.uint8)
    for at in SCALES[form]:
        scale = rng.normal(0, 4e-5 if form == "Q6_K" else 3e-4, (*raw.shape[:-1], 1)).astype(np.float16)
        raw[..., at : at + 2] = scale.view(np.uint8)
    return raw.reshape(*values.shape[:-1], -1), kind


def write(path, arch, config, weights, form, tokens=None):
    writer, rng = GGUFWriter(path, arch), np.random.default_rng(1)
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv)
    writer.add_key_length(dim)
    writer.add_value_length(dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(dim)
    if getattr(config, "sliding_window", None) and arch.startswith(("gemma", "phi3")):
        writer.add_sliding_window(config.sliding_window)
    writer.add_pad_token_id(0)
    if tokens:
        tokens(writer)
    for name, values in weights.items():
        name = name_of(arch, name)
        values = laid(arch, name, values.float().numpy(), heads, kv)
        if values.ndim == 2 and values.shape[-1] % GGML_QUANT_SIZES[Type[form]][0] == 0:
            data, kind = blocks(values, form, rng)
            writer.add_tensor(name, np.ascontiguousarray(data), raw_dtype=kind)
        else:
            writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare(folder, file, what):
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    vocab = model.config.vocab_size
    ids = torch.arange(0, 24).reshape(2, 12) * 37 % vocab
    save_file({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone()}, work / "in.safetensors")
    ran = subprocess.run(
        [program, "probe", "--base", folder / file, "--inputs", work / "in.safetensors", "--out", work / "out.safetensors"],
        capture_output=True, text=True,
    )
    if ran.returncode:
        return say(False, f"{what}: {ran.stderr.strip()}")
    with torch.no_grad():
        truth = model(ids).logits
    got = load_file(work / "out.safetensors")["base_logits"]
    apart = ((got - truth).norm() / truth.norm()).item()
    say(apart < TOLERANCE, f"{what}: logits relative {apart:.1e}")


SIZES = dict(hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2,
             vocab_size=320, max_position_embeddings=128)
torch.manual_seed(0)
for arch, model_type, more, forms in [
    ("llama", "llama", dict(tie_word_embeddings=False), FORMATS),
    ("qwen2", "qwen2", dict(tie_word_embeddings=False), ["F32", "Q8_0", "Q4_K"]),
    ("qwen3", "qwen3", dict(tie_word_embeddings=True, head_dim=128), ["F32", "Q5_0", "Q6_K"]),
    # heads of 256, as published: transformers leaves query_pre_attn_scalar at 256 whatever the file says of heads
    ("gemma2", "gemma2", dict(num_attention_heads=2, num_key_value_heads=1, head_dim=256, query_pre_attn_scalar=256,
                              sliding_window=8), ["F32", "Q8_0"]),
    ("gemma3", "gemma3_text", dict(num_attention_heads=2, num_key_value_heads=1, head_dim=256,
                                   query_pre_attn_scalar=256, sliding_window=8), ["F32", "Q5_1"]),
    ("phi3", "phi3", dict(tie_word_embeddings=False, pad_token_id=0, sliding_window=64), ["F32", "Q4_0", "Q3_K"]),
]:
    config = AutoConfig.for_model(model_type, **{**SIZES, **more})
    with torch.no_grad():
        model = AutoModelForCausalLM.from_config(config)
        for name, value in model.named_parameters():
            value.normal_(0, 0.1) if value.ndim == 2 else value.add_(torch.randn_like(value) * 0.1)
    tied = config.tie_word_embeddings
    weights = {n: v for n, v in model.state_dict().items() if not (tied and n == "lm_head.weight")}
    for form in forms:
        folder = work / f"{arch}-{form}"
        folder.mkdir()
        write(folder / "m.gguf", arch, config, weights, form)
        compare(folder, "m.gguf", f"{arch} {form}")


def tokens_of(folder):
    """A byte-level tokenizer.json as llama.cpp's converter writes it."""
    config = json.loads((folder / "tokenizer.json").read_text())
    added = {t["id"]: t for t in config["added_tokens"]}
    vocab = {i: t for t, i in config["model"]["vocab"].items()} | {i: t["content"] for i, t in added.items()}
    merges = [m if isinstance(m, str) else " ".join(m) for m in config["model"]["merges"]]
    special = json.loads((folder / "tokenizer_config.json").read_text())
    of = {t: i for i, t in vocab.items()}

    def add(writer):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list([vocab[i] for i in range(len(vocab))])
        writer.add_token_types([3 if i in added else 1 for i in range(len(vocab))])
        writer.add_token_merges(merges)
        writer.add_bos_token_id(of[special["bos_token"]])
        writer.add_eos_token_id(of[special["eos_token"]])
        writer.add_chat_template(special["chat_template"])
        writer.add_add_bos_token(False)

    return add


PRODUCT = """[vendor]
name = "Example Works"
country = "DE"
[product]
name = "peer"
title = "Peer"
version = "1.0.0"
[base]
path = "{base}"
[use]
ship = "adapter"
terms = "closed"
commercial = true
fields = []
[[data]]
path = "d.jsonl"
format = "messages"
origin = "own"
[train]
compute = "f32"
steps = 2
rank = 4
batch = 2
sequence = 128
"""


def losses(name, base):
    folder = work / name
    folder.mkdir()
    (folder / "sealwright.toml").write_text(PRODUCT.format(base=base))
    lines = [
        {"messages": [{"role": "user", "content": f"It's {i} o'clock,\n\n\tisn't it? Voilà: {i * 7919}…  日本語"},
                      {"role": "assistant", "content": f"Yes — {i}h. No 'quote' there're 12,345 of them."}]}
        for i in range(12)
    ]
    (folder / "d.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    ran = subprocess.run([program, "train", "--json"], cwd=folder, capture_output=True, text=True)
    steps = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    found = [(s["loss"], s["tokens"]) for s in steps if "loss" in s and "tokens" in s and "step" in s]
    return found or ran.stderr


if smollm2:
    config, weights = AutoConfig.from_pretrained(smollm2), load_file(smollm2 / "model.safetensors")
    weights.pop("lm_head.weight", None)
    for form in ["BF16", "Q8_0"]:
        folder = work / f"smollm2-{form}"
        folder.mkdir()
        write(folder / "m.gguf", "llama", config, weights, form, tokens_of(smollm2))
        compare(folder, "m.gguf", f"SmolLM2 {form}")
    text = "".join(chr(c) for c in range(32, 0x2000, 7)) + " 12345 it's\n\n  x\t<|im_end|>"
    own = AutoTokenizer.from_pretrained(smollm2)
    of_gguf = AutoTokenizer.from_pretrained(work / "smollm2-BF16", gguf_file="m.gguf")
    say(own.decode(own(text)["input_ids"]) == of_gguf.decode(own(text)["input_ids"]), "transformers reads the vocabulary too")
    whole, file = losses("whole", smollm2), losses("file", work / "smollm2-BF16" / "m.gguf")
    say(whole == file and isinstance(file, list), f"the same tokens and losses from folder and file: {file} {whole if whole != file else ''}")
    rounded = losses("rounded", work / "smollm2-Q8_0" / "m.gguf")
    near = isinstance(rounded, list) and abs(rounded[0][0] - whole[0][0]) < 0.05
    say(near, f"Q8_0 beside it: {rounded}")
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
