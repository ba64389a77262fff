"""Every family in shapes of chance: the engine's logits, losses and gradients beside PyTorch's and PEFT's, and its adapters in PEFT.

Each family gets some bases that a seed draws (head sizes, kv ratios, widths, layers, tied and untied heads), in both
spellings of config.json. `probe` has to give what PyTorch gives, to a relative distance of 1e-4; what `train` writes on
all linear projections has to load in PEFT and to give the logits there that it gives here. What transformers lacks is
written in ../golden/reference_models.py.

Use: peft_shapes.py PROGRAM FOLDER [--seed N] [--variants N] [--only FAMILY ...]
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "golden"))
import make_golden as golden
import reference_models

LIMIT = 1e-4
VOCAB, POSITIONS = 265, 96
SPECIAL = ["<pad>", "<s>", "</s>"]
TEMPLATE = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<s>assistant: {% endif %}"
SEVEN, GATE_UP, FUSED, NEOX, CONV1D = golden.TARGETS, golden.GATE_UP, golden.FUSED, golden.NEOX, golden.CONV1D
ATTENTION = golden.ATTENTION


class Draw:
    """one base's sizes"""

    def __init__(self, chance, even=2):
        pick = chance.choice
        self.chance, self.kv, group = chance, pick([1, 2, 3]), pick([1, 2, 3, 5])
        self.heads, self.layers, self.tied = self.kv * group, pick([1, 2, 3]), pick([True, False])
        self.dim = even * pick([1, 2, 3, 4, 5, 7] if even == 2 else [1, 2, 3])
        # a norm of two or three numbers has next to no gradient, and what is left of it is rounding
        while self.heads * self.dim < 8:
            self.dim += even
        self.hidden, self.ffn = self.heads * pick([3, 4, 5, 7]), pick([12, 22, 37, 50])
        self.hidden = max(self.hidden, 8 // self.heads * self.heads)

    def llama(self, **change):
        """the usual keys, head size apart from width / heads"""
        return dict(hidden_size=self.hidden, head_dim=self.dim, **self.common(), **change)

    def square(self, **change):
        """the same where the heads together are as wide as the rest"""
        return dict(hidden_size=self.heads * self.dim, **self.common(), **change)

    def common(self):
        return dict(num_hidden_layers=self.layers, num_attention_heads=self.heads, num_key_value_heads=self.kv,
                    intermediate_size=self.ffn, tie_word_embeddings=self.tied, **SIZES)

    def kinds(self, *, window=True):
        kinds = self.chance.choices(["full_attention", "sliding_attention"] if window else ["full_attention"], k=self.layers)
        return dict(layer_types=kinds, sliding_window=self.chance.choice([2, 3, 5]))

    def one_of(self, *values):
        return self.chance.choice(values)

    def turning(self, share=1.0, **more):
        return dict(rope_parameters=dict(rope_type="default", rope_theta=self.one_of(500.0, 10000.0), partial_rotary_factor=share) | more)


SIZES = dict(vocab_size=VOCAB, max_position_embeddings=POSITIONS, pad_token_id=0, bos_token_id=1, eos_token_id=2)
IDS = dict(vocab_size=VOCAB, pad_token_id=0, bos_token_id=1, eos_token_id=2)


def bools(d, *keys):
    return {key: d.one_of(True, False) for key in keys}


def openai(d, **more):
    dim = d.one_of(3, 5, 8)
    return dict(n_embd=d.heads * dim, n_layer=d.layers, n_head=d.heads, n_positions=POSITIONS, tie_word_embeddings=True, **IDS, **more)


def neox(d):
    square = d.square(**d.turning(d.one_of(0.5, 1.0)), **bools(d, "use_parallel_residual", "attention_bias"), hidden_act=d.one_of("gelu", "gelu_new"))
    del square["num_key_value_heads"]
    return square


def chatglm(d):
    return dict(padded_vocab_size=VOCAB, hidden_size=d.hidden, ffn_hidden_size=d.ffn, kv_channels=d.dim, num_layers=d.layers,
                num_attention_heads=d.heads, multi_query_group_num=d.kv, seq_length=POSITIONS, add_qkv_bias=d.one_of(True, False),
                pad_token_id=0, bos_token_id=1, eos_token_id=2)


def routed(d, experts):
    """the peer's grouped multiply wants multiples of four"""
    d.ffn, d.hidden = d.one_of(12, 20, 28), 4 * d.heads * d.one_of(1, 2)
    count = d.one_of(3, 4, 6)
    return {experts: count, "num_experts_per_tok": d.chance.randint(1, count)}


def gpt_oss(d):
    routing = routed(d, "num_local_experts")
    yarn = dict(rope_type="yarn", rope_theta=150000.0, factor=8.0, beta_fast=32.0, beta_slow=1.0, truncate=False, original_max_position_embeddings=12)
    return d.llama(**routing, **d.kinds(), rope_parameters=yarn)


def qwen3_moe(d):
    routing = routed(d, "num_experts")
    return d.llama(**routing, moe_intermediate_size=d.one_of(8, 12), norm_topk_prob=d.one_of(True, False), attention_bias=d.one_of(True, False))


def smollm3(d):
    return d.square(no_rope_layers=d.chance.choices([0, 1], k=d.layers), **bools(d, "attention_bias", "mlp_bias"))


def gemma(d, **more):
    return d.llama(hidden_activation="gelu_pytorch_tanh", attention_bias=d.one_of(True, False), **more)


def phi3(d):
    return d.square(sliding_window=d.one_of(None, 3), partial_rotary_factor=1.0)


LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
LINEAR = dict(rope_type="linear", rope_theta=10000.0, factor=3.0)
# name: (config class, its arguments for a draw, what the heads' size must divide by, projections)
FAMILIES = {
    "llama": ("LlamaConfig", lambda d: d.llama(**bools(d, "attention_bias", "mlp_bias"), rope_parameters=d.one_of(LLAMA3, LINEAR)), 2, SEVEN),
    "mistral": ("MistralConfig", lambda d: d.llama(sliding_window=d.one_of(None, 2, 5)), 2, SEVEN),
    "qwen2": ("Qwen2Config", lambda d: d.square(use_sliding_window=True, sliding_window=3, max_window_layers=d.one_of(0, 1, 2)), 2, SEVEN),
    "qwen3": ("Qwen3Config", lambda d: d.llama(attention_bias=d.one_of(True, False)), 2, SEVEN),
    "smollm3": ("SmolLM3Config", smollm3, 2, SEVEN),
    "granite": ("GraniteConfig", lambda d: d.square(embedding_multiplier=d.one_of(3.0, 12.0), attention_multiplier=0.2, residual_multiplier=0.3, logits_scaling=d.one_of(2.0, 8.0), **bools(d, "attention_bias", "mlp_bias")), 2, SEVEN),
    "gemma": ("GemmaConfig", gemma, 2, SEVEN),
    "gemma2": ("Gemma2Config", lambda d: gemma(d, query_pre_attn_scalar=d.one_of(5, 9), attn_logit_softcapping=4.0, final_logit_softcapping=d.one_of(2.0, 30.0), **d.kinds()), 2, SEVEN),
    "gemma3": ("Gemma3TextConfig", lambda d: gemma(d, query_pre_attn_scalar=d.one_of(5, 9), **d.kinds()), 2, SEVEN),
    "phi3": ("Phi3Config", phi3, 2, FUSED),
    "olmo2": ("Olmo2Config", lambda d: d.square(attention_bias=d.one_of(True, False)), 2, SEVEN),
    "ernie4_5": ("Ernie4_5Config", lambda d: d.llama(use_bias=d.one_of(True, False)), 2, SEVEN),
    "glm": ("GlmConfig", lambda d: d.llama(**d.turning(d.one_of(0.5, 1.0)), attention_bias=d.one_of(True, False)), 4, GATE_UP),
    "glm4": ("Glm4Config", lambda d: d.llama(**d.turning(d.one_of(0.5, 1.0)), attention_bias=d.one_of(True, False)), 4, GATE_UP),
    "cohere": ("CohereConfig", lambda d: d.square(logit_scale=d.one_of(0.1, 0.5), **bools(d, "use_qk_norm", "attention_bias")), 2, SEVEN),
    "cohere2": ("Cohere2Config", lambda d: d.square(logit_scale=d.one_of(0.1, 0.5), **d.kinds()), 2, SEVEN),
    "gpt2": ("GPT2Config", lambda d: openai(d, n_inner=d.one_of(None, 22, 37), activation_function=d.one_of("gelu_new", "gelu")), 2, CONV1D),
    "gpt1": ("OpenAIGPTConfig", openai, 2, CONV1D),
    "gpt-neox": ("GPTNeoXConfig", neox, 4, NEOX),
    "starcoder2": ("Starcoder2Config", lambda d: d.square(sliding_window=d.one_of(None, 3), use_bias=d.one_of(True, False)), 2, ATTENTION + ["c_fc", "c_proj"]),
    "chatglm": ("ChatGLMConfig", chatglm, 4, NEOX),
    "pangu": ("PanguEmbeddedConfig", lambda d: d.square(bias=d.one_of(True, False)), 2, SEVEN),
    "mixtral": ("MixtralConfig", lambda d: d.llama(**routed(d, "num_local_experts"), sliding_window=d.one_of(None, 3)), 2, ATTENTION),
    "qwen3-moe": ("Qwen3MoeConfig", qwen3_moe, 2, ATTENTION),
    "gpt-oss": ("GptOssConfig", gpt_oss, 2, ATTENTION),
}
RESULTS = {True: 0, False: 0}


def check(name, worst, limit=LIMIT):
    RESULTS[bool(worst <= limit)] += 1
    print(f"{'pass' if worst <= limit else 'FAIL'}  {name}: {worst:.1e}", flush=True)


def older(config):
    """the spelling of transformers 4: rope_theta, rope_scaling, torch_dtype"""
    config = json.loads(json.dumps(config))
    rope = config.pop("rope_parameters", None)
    config["torch_dtype"] = config.pop("dtype")
    if rope and "full_attention" in rope:
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    if rope:
        neox = config["model_type"] == "gpt_neox"
        config["rotary_emb_base" if neox else "rope_theta"] = rope.pop("rope_theta")
        if "partial_rotary_factor" in rope:
            config["rotary_pct" if neox else "partial_rotary_factor"] = rope.pop("partial_rotary_factor")
        config["rope_scaling"] = rope if rope.get("rope_type", "default") != "default" else None
    return config


def write_tokenizer(base):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {word: i for i, word in enumerate(SPECIAL + letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in SPECIAL])
    tokenizer.save(str(base / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "bos_token": "<s>", "chat_template": TEMPLATE}
    (base / "tokenizer_config.json").write_text(json.dumps(config))


def probe(program, base, adapter, inputs, out):
    done = subprocess.run([program, "probe", "--base", base, "--adapter", adapter, "--inputs", inputs, "--out", out], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return load_file(out)


def apart(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm().clamp_min(1e-12)).item()


def parity(program, name, folder):
    """the largest distance of logits, losses and gradients, in each spelling of the config"""
    inputs, want = folder / "inputs.safetensors", load_file(folder / "expected.safetensors")
    seen = load_file(inputs)["attention_mask"].bool()
    new = folder / "base/config.json"
    spelt_new = new.read_text()
    for spelling, config in [("new", spelt_new), ("old", json.dumps(older(json.loads(spelt_new))))]:
        new.write_text(config)
        got = probe(program, folder / "base", folder / "adapter", inputs, folder / "got.safetensors")
        missing = set(want) ^ set(got)
        check(f"{name}, {spelling} spelling: names that only one has", len(missing), 0)
        part = lambda key, x: x[seen] if key.endswith("_logits") else x
        check(f"{name}, {spelling} spelling", max(apart(part(k, got[k]), part(k, want[k])) for k in set(want) & set(got)))
    new.write_text(spelt_new)


def train(program, name, folder):
    """two steps on all linear projections; PEFT gives the adapter's logits that we give"""
    product = folder / "product"
    product.mkdir()
    rows = [{"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"{i * 7 % 5}."}]} for i in range(6)]
    (product / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (product / "sealwright.toml").write_text(
        '[vendor]\nname = "Example Works"\n[product]\nname = "parts"\ntitle = "Parts"\nversion = "1.0.0"\n'
        '[base]\npath = "../base"\n[use]\nship = "adapter"\nterms = "closed"\ncommercial = true\nfields = []\n'
        '[[data]]\npath = "data.jsonl"\nformat = "messages"\norigin = "own"\n'
        '[train]\nrank = 3\nalpha = 6\nsteps = 2\ncompute = "f32"\nbatch = 2\nmicro-batch = 1\nsequence = 64\nlearning-rate = 5e-2\nvalidation = 0.0\n'
    )
    done = subprocess.run([program, "train", product, "--json", "--allow-denied"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout.strip()[-400:] + done.stderr.strip()[-400:])
    adapter = json.loads(done.stdout.splitlines()[-1])["adapter"]
    inputs = load_file(folder / "inputs.safetensors")
    peft = PeftModel.from_pretrained(golden.load(folder), adapter)
    named = {n.split(".lora_")[0] for n, _ in peft.named_parameters() if "lora_" in n}
    stored = load_file(Path(adapter) / "adapter_model.safetensors")
    check(f"{name}: adapted modules of PEFT and of our folder", len(named ^ {n.split(".lora_")[0] for n in stored}), 0)
    with torch.no_grad():
        want = peft(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        plain = golden.load(folder)(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    got = probe(program, folder / "base", adapter, folder / "inputs.safetensors", folder / "trained.safetensors")["adapter_logits"]
    seen = inputs["attention_mask"].bool()
    moved = apart(want[seen], plain[seen])
    check(f"{name}: trained here, loaded in PEFT (moved the logits by {moved:.0e})", apart(got[seen], want[seen]) if moved > 1e-3 else 1.0)


def variant(program, name, folder, seed):
    kind, arguments, even, targets = FAMILIES[name]
    draw = Draw(random.Random(f"{name} {seed}"), even)
    config = (getattr(reference_models, kind, None) or getattr(transformers, kind))(**arguments(draw))
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    golden.make_base(folder, config, generator)
    write_tokenizer(folder / "base")
    golden.make_values(folder, generator, targets, draw.one_of(1, 2, 5))
    label = f"{name} {seed}: L{draw.layers} H{draw.heads} K{draw.kv} D{draw.dim} C{draw.hidden}"
    parity(program, label, folder)
    train(program, label, folder)


def main(args):
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for name in args.only or FAMILIES:
        for n in range(args.variants):
            seed = 1000 * args.seed + 10 * list(FAMILIES).index(name) + n
            folder = Path(args.folder) / f"{name}-{seed}"
            shutil.rmtree(folder, ignore_errors=True)
            try:
                variant(args.program, name, folder, seed)
            except Exception as error:  # a family that fails must not hide the others
                traceback.print_exc(limit=-3)
                check(f"{name} {seed}: {type(error).__name__}: {str(error)[-300:]}", 1.0)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"{RESULTS[True]} passed, {RESULTS[False]} failed")
    sys.exit(1 if RESULTS[False] else 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--variants", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    main(parser.parse_args())
