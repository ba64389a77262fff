#!/bin/sh
# What CI does with this example: fetch the base, build, hold the margin, then the customer's side, word for word.
# Use: check.sh [SEALWRIGHT], the program; by default the one on the path.
set -eu
sealwright=$(command -v "${1:-sealwright}")
case $sealwright in /*) ;; *) sealwright=$PWD/$sealwright ;; esac
cd "$(dirname "$0")"
margin=0.5 # of the held-out loss must go
identity=../01-helpdesk/throw-away-identity.txt
trust="--trust .sealwright/development.pub.pem --allow-development"
bundle=dist/router-desk-1.0.0-acme.sealed

[ -f base/model.safetensors ] || ./fetch_base.sh
"$sealwright" build . --json > build.json.partial
python3 - "$margin" build.json.partial <<'PYTHON'
import json, sys
training = json.load(open(sys.argv[2]))["training"]
before, after = training["before"]["loss"], training["after"]["loss"]
print(f"{training['steps']} steps, held-out loss {before:.3f} -> {after:.3f}")
sys.exit(not (training["steps"] >= 20 and after <= (1 - float(sys.argv[1])) * before))
PYTHON
rm build.json.partial

"$sealwright" verify $bundle $trust > /dev/null
opened=$(mktemp -d)
trap 'rm -r "$opened"' EXIT
"$sealwright" open $bundle --base base --identity $identity $trust --out "$opened/adapter" > /dev/null
[ -f "$opened/adapter/adapter_model.safetensors" ]
"$sealwright" run $bundle --base base --identity $identity $trust "Do you know the day of the backup of the Brindlewick router?"
