#!/bin/sh
# Holds GGUF bases against the gguf package (writer, quantiser) and transformers' own reading of the same file: logits of
# tiny random models in every format that the engine reads, then SmolLM2's tokens and losses. Ends with `N passed, N failed`.
#
# Use: tests/interop/gguf.sh [PROGRAM [SMOLLM2]]    (default: target/release/sealwright; SMOLLM2: a model folder, or none)
# PEERS_VENV names a Python environment with torch, transformers and gguf; without it, one is made and removed again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=${1:-target/release/sealwright}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${PEERS_VENV:-}
if [ -z "$venv" ]; then
    venv=$work/venv
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet torch transformers safetensors gguf sentencepiece protobuf
fi
export HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error OMP_WAIT_POLICY=passive HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
"$venv/bin/python" "$here/gguf_check.py" "$program" "$work" ${2:+"$2"} 2>"$work/log" || { tail -5 "$work/log"; exit 1; }
