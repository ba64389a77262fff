#!/usr/bin/env bash
# The bill of materials holds to CycloneDX 1.6, unknown keys and dangling references being errors.
. "$(dirname "$0")/lib.sh"
deb jq jq; pypi 'cyclonedx-python-lib[json-validation]==11.12.0'
cat > validate.py <<'P'
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = open(sys.argv[1]).read()
bom = json.loads(text)
errors = list(JsonStrictValidator(SchemaVersion.from_version(bom["specVersion"])).validate_str(text, all_errors=True) or [])
def refs(node):
    if isinstance(node, dict):
        return [node[k] for k in ["bom-ref"] if k in node] + [r for v in node.values() for r in refs(v)]
    return [r for v in node for r in refs(v)] if isinstance(node, list) else []
known = refs(bom)
used = {r for d in bom["dependencies"] for r in [d["ref"], *d.get("dependsOn", [])]}
print(*[str(e)[:500] for e in errors], sep="\n")
sys.exit(bool(errors) or len(known) != len(set(known)) or not used <= set(known))
P
tar xf "$BUNDLE" bom.cdx.json
check 0 'it is valid' python validate.py bom.cdx.json
check 0 'it is an ML-BOM of what the manifest names' jq -e '.specVersion == "1.6" and .metadata.component.type == "machine-learning-model"' bom.cdx.json
check 0 'the base is an ancestor and a component' jq -e '.metadata.component.pedigree.ancestors[0].name == .components[0].name' bom.cdx.json
check 0 'data sets stand by salted digest only' jq -e '[.metadata.component.modelCard.modelParameters.datasets[].contents.properties[].name] | all(. == "sealwright:data:salted-sha256")' bom.cdx.json
jq '.metadata.component.typo = 1' bom.cdx.json > typo.json
check 1 'the validator would notice a typo' python validate.py typo.json
finish
