#!/usr/bin/env bash
# The reader that was written from FORMAT.md alone gives the same answer as `sealwright`: on the vectors, on fresh bundles
# for each kind of recipient, and on what the attacks of tests/it wrote where SEALWRIGHT_ATTACKS names their folder.
. "$(dirname "$0")/lib.sh"
deb openssl openssl; deb age age; deb zstd zstd; deb ssh-keygen openssh-client
READER=$ROOT/tests/interop/reader.py
export PYTHONDONTWRITEBYTECODE=1
agree() { python3 "$ROOT/tests/interop/reader_check.py" "$@"; }
check 0 'the vectors' agree vectors "$ROOT/tests/vectors"
[ -z "${SEALWRIGHT_ATTACKS:-}" ] || check 0 'the attacks' agree attacks "$SEALWRIGHT_ATTACKS"

mkdir shop; cd shop || exit 2
export SEALWRIGHT_PASSPHRASE='five words of my own'
printf %s "$SEALWRIGHT_PASSPHRASE" > passphrase
"$SEALWRIGHT" keygen vendor --out vendor.pem </dev/null >/dev/null 2>&1 && "$SEALWRIGHT" keygen identity --out age.txt > age.pub 2>/dev/null &&
  ssh-keygen -q -t ed25519 -N '' -f ssh || exit 2
mkdir theirs && python3 - theirs <<'P' || exit 2
import array, json, random, struct, sys
from pathlib import Path
name = 'base_model.model.model.layers.0.self_attn.q_proj.lora_%s.weight' # 3 MB of noise: several zstd frames
header = {name % 'A': {'dtype': 'F32', 'shape': [4, 98304], 'data_offsets': [0, 1572864]},
          name % 'B': {'dtype': 'F32', 'shape': [98304, 4], 'data_offsets': [1572864, 3145728]}}
header = json.dumps(header).encode()
Path(sys.argv[1], 'adapter_model.safetensors').write_bytes(struct.pack('<Q', len(header)) + header
    + array.array('f', [random.random() for _ in range(786432)]).tobytes())
config = {'peft_type': 'LORA', 'r': 4, 'lora_alpha': 8, 'target_modules': ['q_proj'], 'base_model_name_or_path': 'nano'}
Path(sys.argv[1], 'adapter_config.json').write_text(json.dumps(config))
P
{ shop adapter "$ROOT/examples/01-helpdesk/base" theirs
  customer age "[\"$(cat age.pub)\"]"; customer ssh "[\"$(cut -d' ' -f1,2 ssh.pub)\"]"
  customer both "[\"$(cat age.pub)\", \"$(cut -d' ' -f1,2 ssh.pub)\"]"; customer word '["passphrase"]'
} > sealwright.toml
check 0 'fresh bundles are packed' "$SEALWRIGHT" pack .
opened() { # opened CUSTOMER FLAGS OF OURS -- FLAGS OF THE READER'S
  local bundle=dist/shop-1.0.0-$1.sealed out="$1$RANDOM"; shift
  local ours=(); while [ "$1" != -- ]; do ours+=("$1"); shift; done; shift
  "$SEALWRIGHT" open "$bundle" --trust vendor.pub.pem "${ours[@]}" --out "$out-ours" || return
  python3 "$READER" "$bundle" --trust vendor.pub.pem "$@" --out "$out-theirs" && diff -r "$out-ours" "$out-theirs"
}
check 0 'for an age key'    opened age --identity age.txt -- --identity age.txt
check 0 'for an ssh key'    opened ssh --identity ssh -- --identity ssh
check 0 'for two, by one'   opened both --identity age.txt -- --identity age.txt
check 0 'for two, by the other' opened both --identity ssh -- --identity ssh
check 0 'for a passphrase'  opened word -- --passphrase-file passphrase
says() { [ "$(python3 "$READER" "${@:2}")" = "$1" ]; }
check 0 'another customer cannot' says wrong-customer dist/shop-1.0.0-ssh.sealed --trust vendor.pub.pem --identity age.txt --out no
check 0 'and nothing is left' bash -c '! compgen -G "no*" && ! compgen -G "tmp*"'
printf '[[key]]\npublic = "vendor.pub.pem"\nvendor = "Example Works"\n' > trust.toml
check 0 'a renewal is made' "$SEALWRIGHT" renew dist/shop-1.0.0-age.sealed --until 2100-01-31 --product . --out age.renewal
check 0 'a day after its last it is expired' says expired dist/shop-1.0.0-age.sealed --trust trust.toml --identity age.txt --at 4102444800 --out late
check 0 'and renewed it is not' says ok dist/shop-1.0.0-age.sealed --trust trust.toml --identity age.txt --at 4102444800 --renewal age.renewal --out late
check 0 'a bundle is recalled' "$SEALWRIGHT" ledger recall ssh --product .
printf '%s\n' 'revocations = ["vendor.revocations"]' | cat - trust.toml > asks.toml
check 0 'by both readers' bash -c '[ "$(python3 "$0" dist/shop-1.0.0-ssh.sealed --trust asks.toml)" = revoked-bundle ] &&
  "$1" verify dist/shop-1.0.0-ssh.sealed --trust asks.toml --json | grep -q revoked-bundle' "$READER" "$SEALWRIGHT"
check 0 'and the others are not' says ok dist/shop-1.0.0-both.sealed --trust asks.toml
finish
