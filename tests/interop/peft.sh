#!/bin/sh
# Holds what sealwright trains against PEFT: the adapter loads there unchanged and gives the same logits, and from the
# same first adapter the first ten losses are the same; then every family, in shapes of chance (peft_shapes.py). Ends each
# part with `N passed, N failed`.
#
# Use: tests/interop/peft.sh [PROGRAM]    (default: target/release/sealwright)
# PEERS_VENV names a Python environment with torch, transformers and peft; without it, one is made and removed again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=${1:-target/release/sealwright}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${PEERS_VENV:-}
if [ -z "$venv" ]; then
    venv=$work/venv
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet torch transformers peft safetensors
fi
export OMP_WAIT_POLICY=passive HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
"$venv/bin/python" "$here/peft_check.py" "$program" "$work/product"
"$venv/bin/python" "$here/peft_shapes.py" "$program" "$work/shapes"
