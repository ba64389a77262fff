#!/bin/sh
# A training step beside PEFT's, by turns, on a machine with nothing else to do: the raw result, with the load each time.
#
# Use: benches/step_peer.sh PYTHON PEFT_TRAIN_PY SMOLLM2 [DATA.jsonl]    (a Python with torch, transformers and peft)
# With chat samples of mixed lengths as DATA, the peer also learns from them as it does by default: padded rows, loss on
# the answers. `sealwright train` on the same file says its own tokens/s.
set -eu
python=$1 peer=$2 base=$3 data=${4:-}
export OMP_WAIT_POLICY=passive HF_HUB_OFFLINE=1
cargo bench --quiet --no-run --bench step
load() { echo "load $(cut -d' ' -f1-3 /proc/loadavg)"; }
for turn in 1 2 3; do
    for dtype in f32 bf16; do
        load
        "$python" "$peer" "$base" --seq 512 --batch 1 --steps 4 --warmup 1 --train-on all --pack --dtype "$dtype" |
            sed "s/^/peer, $dtype, packed: /"
        [ -z "$data" ] || "$python" "$peer" "$base" --data "$data" --seq 512 --batch 4 --steps 6 --warmup 1 \
            --dtype "$dtype" | sed "s/^/peer, $dtype, padded: /"
    done
    load
    cargo bench --quiet --bench step -- "$base"
done
