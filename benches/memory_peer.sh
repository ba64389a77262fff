#!/bin/sh
# What PEFT holds at its peak on SmolLM2-135M at batch 4 and sequence 512, beside `cargo bench --bench memory`.
#
# Use: benches/memory_peer.sh PYTHON PEFT_TRAIN_PY SMOLLM2    (a Python with torch, transformers and peft)
set -eu
for dtype in f32 bf16; do
    OMP_WAIT_POLICY=passive "$1" "$2" "$3" --dtype "$dtype" --batch 4 --seq 512 --steps 2 --warmup 1 --train-on all --pack |
        sed "s/^/$dtype /"
done
