#!/usr/bin/env python3
"""Tiny bases with what PyTorch and PEFT make of them: the golden files of tests/it/engine.rs.

Families that transformers lacks are written in reference_models.py.

Use: make_golden.py [--venv DIR] [--only NAME ...]
DIR is made, with torch, transformers and peft, where it is not there yet.

Bases in folders beside this script, weights random and in bf16. Two of the Llama family with a training: `untied`
(grouped-query heads) and `tied` (head shared with the embedding, biases, Llama 3's banded rotary frequencies, a head
width apart from hidden / heads). One or two of each other family, smaller and without. In each folder:
  base/                 config.json, model.safetensors
  adapter/              a PEFT adapter of rank 4 (other families: 2) on all linear projections, A and B random
  inputs.safetensors    input_ids, attention_mask, labels: two rows, the second padded on the right
  expected.safetensors  base_logits, adapter_logits, base_loss, adapter_loss, grad.<adapter tensor>; f32
  train.safetensors     (the two) init.<adapter tensor>: a fresh PEFT adapter; tokens [steps, rows, positions]; losses
  train.json            the numbers of that training: AdamW, clipping, warm-up and cosine
The loss is the mean over the labels that are not -100, shifted by one.
"""
import argparse, json, math, os, shutil, subprocess, sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = ["torch==2.15.0", "transformers==5.23.0", "peft==0.21.2", "safetensors", "numpy"]
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
COMMON = dict(vocab_size=80, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
              intermediate_size=56, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
BASES = {
    "untied": dict(tie_word_embeddings=False),
    "tied": dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True, head_dim=10,
                 rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                                      high_freq_factor=4.0, original_max_position_embeddings=16)),
}
# other families, small enough to be many: {name: (config class, what differs from SMALL, projections)}
SMALL = dict(vocab_size=48, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             intermediate_size=24, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
SMALL_RANK = 2
GATE_UP = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"]
FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
ATTENTION = TARGETS[:4]
CONV1D = ["c_attn", "c_proj", "c_fc"]
NEOX = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]
OTHER_NAMES = dict(num_hidden_layers=None, num_key_value_heads=None, intermediate_size=None,
                   max_position_embeddings=None)  # keys of SMALL that a family has under names of its own
SLIDING_FULL = ["sliding_attention", "full_attention"]


def turning(share):
    return dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=share)


FAMILIES = {
    "llama-yarn": ("LlamaConfig", dict(rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0,
                                                            original_max_position_embeddings=16)), TARGETS),
    "mistral": ("MistralConfig", dict(sliding_window=4, head_dim=6), TARGETS),
    "qwen2": ("Qwen2Config", dict(use_sliding_window=True, sliding_window=4, max_window_layers=1,
                                  tie_word_embeddings=True), TARGETS),
    "qwen3": ("Qwen3Config", dict(head_dim=6, tie_word_embeddings=True), TARGETS),
    "smollm3": ("SmolLM3Config", dict(no_rope_layer_interval=2, tie_word_embeddings=True), TARGETS),
    "granite": ("GraniteConfig", dict(embedding_multiplier=6.0, attention_multiplier=0.1, residual_multiplier=0.4,
                                      logits_scaling=3.0, attention_bias=True, mlp_bias=True), TARGETS),
    "gemma": ("GemmaConfig", dict(head_dim=6), TARGETS),
    "gemma2": ("Gemma2Config", dict(head_dim=6, query_pre_attn_scalar=5, sliding_window=4,
                                    attn_logit_softcapping=5.0, final_logit_softcapping=3.0), TARGETS),
    "gemma3": ("Gemma3TextConfig", dict(head_dim=6, query_pre_attn_scalar=5, sliding_window=4,
                                        layer_types=SLIDING_FULL), TARGETS),
    "phi3": ("Phi3Config", dict(sliding_window=5), FUSED),
    "phi3-longrope": ("Phi3Config", dict(max_position_embeddings=96, original_max_position_embeddings=48,
                                         rope_parameters=dict(rope_type="longrope", rope_theta=10000.0,
                                                              short_factor=[1.0, 1.3], long_factor=[1.0, 3.0],
                                                              original_max_position_embeddings=48)), FUSED),
    "olmo2": ("Olmo2Config", dict(), TARGETS),
    "ernie4_5": ("Ernie4_5Config", dict(head_dim=6, use_bias=True), TARGETS),
    "glm": ("GlmConfig", dict(head_dim=8, partial_rotary_factor=0.5), GATE_UP),
    "glm4": ("Glm4Config", dict(head_dim=8, partial_rotary_factor=0.5), GATE_UP),
    "cohere": ("CohereConfig", dict(logit_scale=0.25), TARGETS),
    "cohere-qk-norm": ("CohereConfig", dict(logit_scale=0.25, use_qk_norm=True), TARGETS),
    "cohere2": ("Cohere2Config", dict(logit_scale=0.25, sliding_window=4, layer_types=SLIDING_FULL), TARGETS),
    "gpt2": ("GPT2Config", dict(n_embd=16, n_layer=2, n_head=4, n_positions=64, **OTHER_NAMES), CONV1D),
    "gpt1": ("OpenAIGPTConfig", dict(n_embd=16, n_layer=2, n_head=4, n_positions=64, **OTHER_NAMES), CONV1D),
    "gpt-neox": ("GPTNeoXConfig", dict(num_key_value_heads=None, rope_parameters=turning(0.5)), NEOX),
    "gpt-neox-sequential": ("GPTNeoXConfig", dict(num_key_value_heads=None, hidden_size=20, hidden_act="gelu_new",
                                                  use_parallel_residual=False, attention_bias=False,
                                                  rope_parameters=turning(0.8)), NEOX),
    "starcoder2": ("Starcoder2Config", dict(sliding_window=4), ATTENTION + ["c_fc", "c_proj"]),
    "chatglm": ("ChatGLMConfig", dict(padded_vocab_size=48, hidden_size=16, ffn_hidden_size=24, kv_channels=8,
                                      vocab_size=None, **OTHER_NAMES), NEOX),
    "pangu": ("PanguEmbeddedConfig", dict(), TARGETS),
    "mixtral": ("MixtralConfig", dict(num_local_experts=3, num_experts_per_tok=2), ATTENTION),
    "qwen3-moe": ("Qwen3MoeConfig", dict(num_experts=5, num_experts_per_tok=3, moe_intermediate_size=12, head_dim=6,
                                         norm_topk_prob=False), ATTENTION),
    "gpt-oss": ("GptOssConfig", dict(num_local_experts=3, num_experts_per_tok=2, head_dim=6, sliding_window=4), ATTENTION),
}
EMBEDDINGS = ["embed", "wte", "wpe"]
DROPOUTS = ["attention_dropout", "attn_pdrop", "embd_pdrop", "embedding_dropout", "hidden_dropout", "resid_pdrop",
            "residual_dropout"]
TRAIN = dict(steps=10, rows=2, positions=16, rank=4, alpha=8, learning_rate=2e-2, betas=[0.9, 0.999], eps=1e-8,
             weight_decay=0.01, max_grad_norm=1.0, warmup_steps=3)


def inside(venv, only):
    """runs this script again by the venv's python, which it makes first where it is missing"""
    python = venv / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    os.execv(python, [python, __file__, *(["--only", *only] if only else [])])


def rate(step):
    """the learning rate of step 0, 1, …: src/train/schedule.rs"""
    warmup, steps = TRAIN["warmup_steps"], TRAIN["steps"]
    if step < warmup:
        return TRAIN["learning_rate"] * (step + 1) / (warmup + 1)
    return TRAIN["learning_rate"] * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def make_base(folder, config, generator):
    import torch, transformers, reference_models
    for key in DROPOUTS:
        if isinstance(getattr(config, key, None), float):
            setattr(config, key, 0.0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, p in sorted(dict(model.named_parameters()).items()):
            x = torch.randn(p.shape, generator=generator)
            if p.dim() == 1 or "norm" in name:
                p.add_(0.1 * x)
            elif any(word in name for word in EMBEDDINGS):
                p.copy_(0.5 * x)
            else:
                p.copy_(x / p.shape[-2 if p.dim() == 3 else 1] ** 0.5)
    model.tie_weights()
    model.to(torch.bfloat16).save_pretrained(folder / "base")
    (folder / "base/generation_config.json").unlink(missing_ok=True)
    path = folder / "base/config.json"
    path.write_text(json.dumps(reference_models.as_published(json.loads(path.read_text())), indent=2) + "\n")


def load(folder):
    import torch, transformers
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder / "base", dtype=torch.float32, attn_implementation="eager").eval()


def adapted(model, targets=TARGETS, rank=TRAIN["rank"]):
    import peft
    return peft.get_peft_model(model, peft.LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, bias="none",
                                                      target_modules=targets, task_type="CAUSAL_LM",
                                                      fan_in_fan_out="c_attn" in targets))


def trainable(model):
    return {k.replace(".default.weight", ".weight"): p for k, p in model.named_parameters() if p.requires_grad}


def make_values(folder, generator, *lora):
    import torch
    from safetensors.torch import save_file
    model = load(folder)
    ids = torch.randint(3, model.config.vocab_size, (2, 12), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    ids = ids * mask
    labels = torch.where(mask == 1, ids, -100)
    labels[0, :3] = -100
    inputs = dict(input_ids=ids, attention_mask=mask, labels=labels)
    with torch.no_grad():
        plain = model(**inputs)
    model = adapted(model, *lora)
    with torch.no_grad():
        for _, p in sorted(trainable(model).items()):
            p.copy_(0.3 * torch.randn(p.shape, generator=generator) / p.shape[1] ** 0.5)
    got = model(**inputs)
    got.loss.backward()
    model.save_pretrained(folder / "adapter")
    (folder / "adapter/README.md").unlink(missing_ok=True)
    config = json.load(open(folder / "adapter/adapter_config.json"))
    config.update(base_model_name_or_path="base", target_modules=sorted(config["target_modules"]))
    (folder / "adapter/adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file(inputs, folder / "inputs.safetensors")
    save_file({"base_logits": plain.logits.contiguous(), "adapter_logits": got.logits.detach().contiguous(),
               "base_loss": plain.loss.reshape(1), "adapter_loss": got.loss.detach().reshape(1),
               **{"grad." + k: p.grad.contiguous() for k, p in trainable(model).items()}}, folder / "expected.safetensors")


def make_training(folder, generator):
    import torch
    from safetensors.torch import save_file
    t = TRAIN
    model = adapted(load(folder))
    first = {"init." + k: p.detach().clone() for k, p in trainable(model).items()}
    tokens = torch.randint(3, COMMON["vocab_size"], (3, t["rows"], t["positions"]), generator=generator)
    tokens = tokens[torch.arange(t["steps"]) % 3].contiguous()  # three batches, again and again
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=t["learning_rate"], betas=t["betas"], eps=t["eps"],
                                  weight_decay=t["weight_decay"])
    losses = []
    for step in range(t["steps"]):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.zero_grad()
        loss = model(input_ids=tokens[step], labels=tokens[step]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable(model).values(), t["max_grad_norm"])
        optimizer.step()
        losses.append(loss.item())
    save_file({**first, "tokens": tokens, "losses": torch.tensor(losses)}, folder / "train.safetensors")
    (folder / "train.json").write_text(json.dumps({**t, "rates": [rate(s) for s in range(t["steps"])]}, indent=1) + "\n")
    print(folder.name, "losses", " ".join(f"{x:.5f}" for x in losses))


def main(only):
    import torch, transformers, reference_models
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for n, name in enumerate([*BASES, *FAMILIES]):
        if only and name not in only:
            continue
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        torch.manual_seed(n)
        generator = torch.Generator().manual_seed(17 + n)
        if name in BASES:
            make_base(folder, transformers.LlamaConfig(**{**COMMON, **BASES[name]}), generator)
            make_values(folder, generator)
            make_training(folder, generator)
        else:
            kind, change, targets = FAMILIES[name]
            config = {key: value for key, value in {**SMALL, **change}.items() if value is not None or key not in SMALL}
            kind = getattr(reference_models, kind, None) or getattr(transformers, kind)
            make_base(folder, kind(**config), generator)
            make_values(folder, generator, targets, SMALL_RANK)
    size = sum(f.stat().st_size for f in HERE.rglob("*") if f.is_file())
    print(f"torch {torch.__version__}, transformers {transformers.__version__}: {size // 1024} KiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, help="a Python environment for PyTorch; made where it is missing")
    parser.add_argument("--only", nargs="*", help="names of folders; the others stay as they are")
    args = parser.parse_args()
    inside(args.venv.resolve(), args.only) if args.venv else main(args.only)
