#!/usr/bin/env bash
# The pre-flight's JSON holds to docs/report.schema.json by an outside validator: alone, compared, explained, as annex and
# watched.
. "$(dirname "$0")/lib.sh"
deb jq jq; pypi 'check-jsonschema==0.35.0'
cp -r "$ROOT/examples/01-helpdesk" shop
mkdir -p other && echo '{}' > other/config.json
printf -- '---\nlicense: cc-by-nc-4.0\nbase_model: meta-llama/Llama-2-7b-hf\n---\n' > other/README.md
valid() { check-jsonschema --schemafile "$ROOT/docs/report.schema.json" "$@"; }
check 0 'the schema is one' check-jsonschema --check-metaschema "$ROOT/docs/report.schema.json"
"$SEALWRIGHT" check shop --json > one.json
check 0 'a report is valid' valid one.json
"$SEALWRIGHT" check shop --compare shop/base other --json > two.json
jq '.bases[1].report' two.json > worse.json
check 0 'a worse one, too' valid worse.json
check 0 'it has something to say' jq -e '(.findings | length > 3) and (.verdict != "allow")' worse.json
jq '.findings[0].typo = 1' worse.json > typo.json
check 1 'the validator would notice a typo' valid typo.json
check 0 'a comparison is valid' valid two.json
"$SEALWRIGHT" check shop --why commercial-use --json > why.json
check 0 'the path of one term, too' valid why.json
"$SEALWRIGHT" check shop --annex --json > annex.json
check 0 'the annex, too' valid annex.json
"$SEALWRIGHT" build shop >/dev/null 2>&1 || echo 'FAIL cannot build the example'
"$SEALWRIGHT" check --watch shop --json > watch.json
check 0 'what was shipped, too' valid watch.json
check 0 'the annex has the digest that is said' bash -c '"$0" check shop --annex | sha256sum | cut -c1-64 | diff - <("$0" check shop --annex --json | jq -r .sha256)' "$SEALWRIGHT"
finish
