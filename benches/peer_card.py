"""The peers' figures on the same card: torch's multiply and attention at the bench's shapes, and PEFT's LoRA step on random
weights in the shape of Llama-3.1-8B (r = 16 on all seven projections, 2 rows of 4096). One line a figure, raw."""
import sys
import time

import torch
import torch.nn.functional as F

TOKENS, HIDDEN, FFN, VOCAB, HEADS, KV, DIM, SEQUENCE = 8192, 4096, 14336, 128256, 32, 8, 128, 4096


def timed(call, calls=20):
    call()
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(calls):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - begun) / calls


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.bfloat16, device="cuda")


def kernels():
    for name, rows, outputs, inputs in [
        ("qkv", TOKENS, (HEADS + 2 * KV) * DIM, HIDDEN),
        ("o", TOKENS, HIDDEN, HIDDEN),
        ("gate, up", TOKENS, 2 * FFN, HIDDEN),
        ("down", TOKENS, HIDDEN, FFN),
        ("head", 512, VOCAB, HIDDEN),
    ]:
        x, w = zeros(rows, inputs), zeros(outputs, inputs)
        print(f"torch multiply {name}: {2e-12 * rows * outputs * inputs / timed(lambda: x @ w.T):.0f} TFLOP/s", flush=True)
    q = zeros(2, HEADS, SEQUENCE, DIM).requires_grad_()
    k, v = (zeros(2, KV, SEQUENCE, DIM).requires_grad_() for _ in range(2))
    work = 4e-12 * SEQUENCE * SEQUENCE * HEADS * DIM  # two rows, half of each

    def forward():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    o = forward()
    d = torch.ones_like(o)
    ahead = timed(forward)
    back = timed(lambda: torch.autograd.grad(o, (q, k, v), d, retain_graph=True))
    print(f"torch attention: forward {work / ahead:.0f} TFLOP/s, backward {2.5 * work / back:.0f} TFLOP/s", flush=True)


def peft_step(compiled):
    import peft
    import transformers

    config = transformers.LlamaConfig(
        hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=32, num_attention_heads=HEADS,
        num_key_value_heads=KV, vocab_size=VOCAB, rope_theta=500000.0, max_position_embeddings=131072,
    )
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = transformers.LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    projections = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = peft.LoraConfig(r=16, lora_alpha=32, target_modules=projections)
    model = peft.get_peft_model(model, lora)
    adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    step = torch.compile(model) if compiled else model
    ids = torch.randint(0, VOCAB, (2, SEQUENCE), device="cuda")

    def one():
        step(input_ids=ids, labels=ids).loss.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)

    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        one()
    seconds = timed(one, calls=5)
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"PEFT, compiled {compiled}: {TOKENS / seconds:.0f} tokens/s, peak {peak:.1f} GiB", flush=True)


print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}", flush=True)
kernels()
for compiled in (False, True):
    try:
        peft_step(compiled)
    except (ImportError, RuntimeError) as error:  # out of memory is an answer, too
        print(f"PEFT, compiled {compiled}: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stdout, flush=True)
    torch.cuda.empty_cache()
