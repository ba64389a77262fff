"""The comparison behind peft.sh: a tiny random Llama, eight dialogues, ten optimiser steps on both sides.

Each step takes all of the data, so that the order in which a trainer shuffles does not matter. PEFT pads the dialogues
into one batch; sealwright trains twice: all of them packed in one row, and a row each with the gradient accumulated.

Use: peft_check.py PROGRAM FOLDER
"""

import json
import os
import subprocess
import sys

import torch
import transformers
import peft
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

PROGRAM, FOLDER = sys.argv[1:]
BASE, FIRST, STEPS = f"{FOLDER}/base", f"{FOLDER}/first", 10
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DIALOGUES = [
    [("user", f"Which tool fits part {i}?"), ("assistant", f"Part {i} takes {'the long key ' * (i % 3)}size {i * 5 % 13}.")]
    + [("user", "And the spare one?"), ("assistant", f"Size {i * 7 % 11}.")]
    for i in range(8)
]
# rows a step, rows at a time, tokens a row: a dialogue has more than 100 tokens and fewer than 200
WAYS = {"packed": (1, 1, 4096), "accumulated": (8, 3, 200)}
RESULTS = {True: 0, False: 0}


def check(name, worst, limit):
    RESULTS[bool(worst <= limit)] += 1
    print(f"{'pass' if worst <= limit else 'FAIL'}  {name}: {worst:.2e} (at most {limit:.0e})")


def make_base():
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|im_start|>", "<|im_end|>")])
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(BASE)
    config = LlamaConfig(
        vocab_size=264, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=2, max_position_embeddings=512, eos_token_id=257, bos_token_id=None, initializer_range=0.15,
    )
    LlamaForCausalLM(config).save_pretrained(BASE)


def make_first_adapter():
    config = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", target_modules=PROJECTIONS)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32), config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(0, 0.02)
    model.save_pretrained(FIRST)


def sealwright_train(way):
    batch, micro_batch, sequence = WAYS[way]
    product = f"{FOLDER}/{way}"
    os.makedirs(product)
    with open(f"{product}/data.jsonl", "w") as f:
        for d in DIALOGUES:
            f.write(json.dumps({"messages": [{"role": r, "content": c} for r, c in d]}) + "\n")
    with open(f"{product}/sealwright.toml", "w") as f:
        f.write(
            '[vendor]\nname = "Example Works"\n[product]\nname = "parts"\ntitle = "Parts"\nversion = "1.0.0"\n'
            '[base]\npath = "../base"\n[use]\nship = "adapter"\nterms = "closed"\ncommercial = true\nfields = []\n'
            '[[data]]\npath = "data.jsonl"\nformat = "messages"\norigin = "own"\n'
            f'[train]\ncompute = "f32"\nrank = 8\nalpha = 16\nsteps = {STEPS}\nbatch = {batch}\nmicro-batch = {micro_batch}\n'
            f'sequence = {sequence}\n'
            'learning-rate = 2e-3\nwarmup = 2\nweight-decay = 0.01\nvalidation = 0.0\ninit = "../first"\n'
        )
    out = subprocess.run([PROGRAM, "train", product, "--json", "--allow-denied"], check=True, stdout=subprocess.PIPE)
    lines = [json.loads(line) for line in out.stdout.splitlines()]
    return [line for line in lines[:-1] if "step" in line], lines[-1]


def encoded():
    """Ids, mask and labels: answers and their end marks bear loss."""
    tok = AutoTokenizer.from_pretrained(BASE)
    rows = []
    for d in DIALOGUES:
        messages = [{"role": r, "content": c} for r, c in d]
        ids = lambda upto, prompt: tok(
            tok.apply_chat_template(messages[:upto], tokenize=False, add_generation_prompt=prompt), add_special_tokens=False
        ).input_ids
        whole = ids(len(messages), False)
        labels = [-100] * len(whole)
        for i, (role, _) in enumerate(d):
            if role == "assistant":
                begin, end = len(ids(i, True)), len(ids(i + 1, False)) - 1  # all but the newline after the end mark
                labels[begin:end] = whole[begin:end]
        rows.append((whole, labels))
    width = max(len(w) for w, _ in rows)
    pad = lambda xs, with_: torch.tensor([x + [with_] * (width - len(x)) for x in xs])
    mask = torch.tensor([[1] * len(w) + [0] * (width - len(w)) for w, _ in rows])
    return pad([w for w, _ in rows], 0), mask, pad([l for _, l in rows], -100)


def peft_train(rates, ids, mask, labels):
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32), FIRST, is_trainable=True)
    params = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=1.0, weight_decay=0.01)
    losses, norms = [], []
    for rate in rates:
        optimiser.param_groups[0]["lr"] = rate
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(params, 1.0).item())
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return model, losses, norms


def probe(adapter):
    out = f"{FOLDER}/probe.safetensors"
    subprocess.run(
        [PROGRAM, "probe", "--base", BASE, "--adapter", adapter, "--inputs", f"{FOLDER}/inputs.safetensors", "--out", out],
        check=True, stderr=subprocess.DEVNULL,
    )
    return load_file(out)


def relative(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def main():
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    os.makedirs(FOLDER)
    make_base()
    make_first_adapter()
    ids, mask, labels = encoded()
    save_file({"input_ids": ids, "attention_mask": mask, "labels": labels}, f"{FOLDER}/inputs.safetensors")
    trained = None
    for way in WAYS:
        steps, last = sealwright_train(way)
        if trained is None:
            trained, losses, norms = peft_train([s["lr"] for s in steps], ids, mask, labels)
        for i, (step, loss, norm) in enumerate(zip(steps, losses, norms)):
            check(f"{way}: step {i + 1} loss, {step['loss']:.6f} and {loss:.6f}", abs(step["loss"] - loss), 1e-3)
            check(f"{way}: step {i + 1} gradient norm, {step['grad-norm']:.6f} and {norm:.6f}", abs(step["grad-norm"] / norm - 1), 1e-3)
        check(f"{way}: loss tokens of all steps", abs(last["loss-tokens"] - STEPS * int((labels[:, 1:] != -100).sum())), 0)

    plain = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    ours = PeftModel.from_pretrained(plain, last["adapter"])
    loaded = {n: p for n, p in ours.named_parameters() if "lora_" in n}
    theirs = {n: p for n, p in trained.named_parameters() if "lora_" in n}
    check("matrices that PEFT does not find in our folder", len(set(theirs) ^ set(loaded)), 0)
    check("adapter after ten steps, ours and PEFT's", max(relative(loaded[n], theirs[n]) for n in theirs), 1e-2)
    there = mask.bool()
    for name, folder, model in [("trained here", last["adapter"], ours), ("saved by PEFT", FIRST, None)]:
        if model is None:
            model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32), folder)
        with torch.no_grad():
            want = model(input_ids=ids, attention_mask=mask).logits
            with model.disable_adapter():
                without = model(input_ids=ids, attention_mask=mask).logits
        got = probe(folder)
        check(f"logits with the adapter {name}", relative(got["adapter_logits"][there], want[there]), 1e-4)
        check(f"logits of the base alone, beside the adapter {name}", relative(got["base_logits"][there], without[there]), 1e-4)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")
    print(f"{RESULTS[True]} passed, {RESULTS[False]} failed")
    sys.exit(1 if RESULTS[False] else 0)


main()
