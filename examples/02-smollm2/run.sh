#!/usr/bin/env bash
# What CI does with this example: fetch the base, build, hold the margin, then the customer's side.
# SEALWRIGHT names a program that is built already.
set -euo pipefail
cd "$(dirname "$0")"
margin=0.8 # this share of the held-out loss must go
identity=../01-helpdesk/throw-away-identity.txt
trust=(--trust .sealwright/development.pub.pem --allow-development)
bundle=dist/router-desk-1.0.0-acme.sealed

sealwright() {
    if [ -n "${SEALWRIGHT:-}" ]; then "$SEALWRIGHT" "$@"
    else cargo run --release --quiet --manifest-path ../../Cargo.toml -- "$@"; fi
}

[ -f base/model.safetensors ] || ./fetch_base.sh
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
sealwright build --json | tail -n 1 > "$scratch/build.json" # after a line for each step
python3 - "$scratch/build.json" "$margin" <<'PYTHON'
import json, sys
training = json.load(open(sys.argv[1]))["training"]
before, after = training["before"]["loss"], training["after"]["loss"]
print(f"{training['steps']} steps, held-out loss {before:.3f} -> {after:.3f}")
sys.exit(not (training["steps"] >= 20 and after <= (1 - float(sys.argv[2])) * before))
PYTHON

sealwright verify "$bundle" "${trust[@]}" > /dev/null
sealwright open "$bundle" --base base --identity "$identity" "${trust[@]}" --out "$scratch/opened" > /dev/null
[ -f "$scratch/opened/adapter_model.safetensors" ]
sealwright run "$bundle" --base base --identity "$identity" "${trust[@]}" \
    "Do you know the day of the backup of the Brindlewick router?"
