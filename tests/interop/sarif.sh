#!/usr/bin/env bash
# The pre-flight's SARIF log holds to the 2.1.0 schema and the rules of the format's own validator.
. "$(dirname "$0")/lib.sh"
deb jq jq; deb npm npm
npm install --silent --no-fund --no-audit --prefix "$TMP/node" '@microsoft/sarif-multitool@5.7.0' >/dev/null 2>&1 || { echo 'cannot install sarif-multitool'; exit 2; }
multitool=$TMP/node/node_modules/.bin/sarif-multitool
mkdir -p shop/base && echo '{}' > shop/base/config.json
printf -- '---\nlicense: cc-by-nc-4.0\nbase_model: example/unknown\n---\n' > shop/base/README.md
cat > shop/sealwright.toml <<'T'
[vendor]
name = "Example Works"
[product]
name = "shop"
title = "Example Shop"
version = "1.0.0"
[base]
path = "base"
[use]
ship = "adapter"
terms = "closed"
commercial = true
[derivative]
path = "adapter"
T
valid() { # valid FILE: no error by the validator
  "$multitool" validate "$1" --output "$1.checked" --log ForceOverwrite >/dev/null 2>&1
  jq -e '[.runs[].results[]? | select((.level // "warning") == "error")] == []' "$1.checked"
}
"$SEALWRIGHT" check shop --sarif > shop.sarif
check 0 'it is valid'                        valid shop.sarif
check 0 'it has results at lines of the product file' jq -e '[.runs[0].results[].locations[0].physicalLocation.region.startLine // empty] | length > 0' shop.sarif
cp -r shop/base other
"$SEALWRIGHT" check shop --sarif --compare shop/base other > two.sarif
check 0 'two bases are valid, too'           valid two.sarif
jq 'del(.runs[0].results[0].message)' shop.sarif > wrong.sarif
check fail 'the validator would notice a missing message' valid wrong.sarif
finish
