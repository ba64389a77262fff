#!/usr/bin/env bash
# A training step beside PEFT's, by turns, on a machine with nothing else to do: the raw result, with the load each time.
# First rows that are full; then chat samples of mixed lengths with loss on the answers, which PEFT pads as it does by
# default, and which we pack.
#
# Use: benches/step_peer.sh PYTHON PEFT_TRAIN_PY SMOLLM2    (a Python with torch, transformers and peft)
# DTYPES="f32 bf16" asks the peer for both; bf16 is left out where the processor has no instructions for it.
set -euo pipefail
python=$1 peer=$2 base=$(realpath "$3")
export OMP_WAIT_POLICY=passive HF_HUB_OFFLINE=1 PYTHONWARNINGS=ignore
DTYPES=${DTYPES:-f32$(grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo && echo ' bf16' || true)}
cargo build --release --quiet
cargo bench --quiet --no-run --bench step
program=$PWD/target/release/sealwright
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
"$python" - "$work/chat.jsonl" <<'PYTHON'
import json, random, sys
draw = random.Random(11)
words = "pump valve sensor relay motor filter gauge clutch bearing hose open close check note then slowly again".split()
text = lambda count: " ".join(draw.choice(words) for _ in range(count)) + "."
with open(sys.argv[1], "w") as out:
    for _ in range(256):  # most are short, some fill a row: a median of 67 words
        count = int(min(400, max(6, draw.lognormvariate(4.2, 0.9))))
        asked = max(3, int(count * draw.uniform(0.2, 0.6)))
        said = [("user", text(asked)), ("assistant", text(max(3, count - asked)))]
        print(json.dumps({"messages": [{"role": role, "content": content} for role, content in said]}), file=out)
PYTHON
product() { # product f32|bf16: a product file for the chat samples
    cat <<TOML
[vendor]
name = "Example Works"
country = "DE"
annual-revenue = { EUR = 400000 }
monthly-active-users = { now = 40000, at-release = 0 }
[product]
name = "shop"
title = "Example Shop"
version = "1.0.0"
[base]
path = "$base"
[use]
ship = "adapter"
terms = "closed"
commercial = true
purpose = "customer support assistant"
fields = []
territory = ["DE"]
trains-models-on-outputs = false
[[data]]
path = "chat.jsonl"
format = "messages"
origin = "own"
[train]
rank = 16
alpha = 32
targets = "all-linear"
steps = 6
batch = 4
sequence = 512
validation = 0
compute = "$1"
TOML
}
load() { echo "load $(cut -d' ' -f1-3 /proc/loadavg)"; }
short() { # the peer's figures that are compared
    "$python" -c 'import json, sys
f = json.load(sys.stdin)
print(*(f"{k} {f[k]}" for k in ("dtype", "batch", "tokens_per_s", "positions_per_s", "best_step_positions_per_s",
      "cpu_ms_per_position", "peak_rss_mib", "losses", "versions")), sep="; ")'
}
for turn in 1 2 3; do
    for dtype in $DTYPES; do
        load
        "$python" "$peer" "$base" --seq 512 --batch 1 --steps 4 --warmup 1 --train-on all --pack --dtype "$dtype" \
            2>/dev/null | short | sed 's/^/peer, full rows: /'
    done
    load
    cargo bench --quiet --bench step -- "$base"
    for dtype in $DTYPES; do
        load
        "$python" "$peer" "$base" --data "$work/chat.jsonl" --seq 512 --batch 4 --steps 6 --warmup 1 --dtype "$dtype" \
            2>/dev/null | short | sed 's/^/peer, chat, padded: /'
        load
        product "$dtype" > "$work/sealwright.toml"
        rm -rf "$work/.sealwright"
        "$program" train "$work" --json | "$python" -c 'import json, sys
steps = [s | {"took": s["tokens"] / s["tokens-per-second"]} for s in map(json.loads, sys.stdin) if "step" in s]
tokens, took = (sum(s[k] for s in steps[1:]) for k in ("tokens", "took"))
print(f"{sys.argv[1]}: tokens_per_s {tokens / took:.1f}; losses", [round(s["loss"], 5) for s in steps])' "ours, chat, packed, $dtype"
    done
done
