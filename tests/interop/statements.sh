#!/usr/bin/env bash
# Renewals, revocation lists and the manifest's envelope by openssl and by securesystemslib; OpenSSL's keys, with and
# without a passphrase and behind a command, sign bundles that openssl verifies.
. "$(dirname "$0")/lib.sh"
deb openssl openssl; deb jq jq; pypi 'securesystemslib[crypto]==1.6.0'
VECTORS=$ROOT/tests/vectors
by_openssl() ( # by_openssl FILE TYPE PUBLIC: the signature over DSSE's encoding, by hand
  set -e -o pipefail
  jq -j .payload "$1" | base64 -d > body; jq -j '.signatures[0].sig' "$1" | base64 -d > sig
  [ "$(jq -j .payloadType "$1")" = "$2" ]
  { printf 'DSSEv1 %d %s %d ' ${#2} "$2" "$(stat -c %s body)"; cat body; } > pae
  openssl dgst -sha256 -verify "$3" -signature sig pae
  jq -cjS . body | cmp - body
)
cat > by_library.py <<'P'
import json, sys
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
envelope = json.load(open(sys.argv[1]))
keyid = envelope["signatures"][0]["keyid"]
key = SSlibKey.from_crypto(load_pem_public_key(open(sys.argv[2], "rb").read()), keyid=keyid)
Envelope.from_dict(envelope).verify([key], 1)
P
mkdir manifest; tar xf "$BUNDLE" -C manifest manifest.sig
for pair in "manifest/manifest.sig manifest" "$VECTORS/renewed.renewal renewal" "$VECTORS/keys/fresh.revocations revocations"; do
  set -- $pair
  check 0 "openssl verifies a $2 envelope"          by_openssl "$1" "application/vnd.sealwright.$2+json" "$VENDOR"
  check fail "a $2 envelope is of no other type"    by_openssl "$1" "application/vnd.in-toto+json" "$VENDOR"
  check 0 "securesystemslib verifies a $2 envelope" python by_library.py "$1" "$VENDOR"
  check fail "by another key it does not"           python by_library.py "$1" "$VECTORS/keys/development.pub.pem"
done

export SEALWRIGHT_KEY_PASSPHRASE='five words of my own'
check 0 'a key under a passphrase is made'  "$SEALWRIGHT" keygen vendor --out locked.pem
check 0 'openssl decrypts it'               bash -c 'openssl pkey -in locked.pem -passin env:SEALWRIGHT_KEY_PASSPHRASE -pubout | cmp - locked.pub.pem'
check fail 'with another passphrase not'    openssl pkey -in locked.pem -passin pass:another -noout
cp -r "$ROOT/examples/01-helpdesk" trained; rm -rf trained/dist trained/.sealwright
check 0 'the example is trained' "$SEALWRIGHT" build trained
product() { # product FOLDER KEY: the example's product, trained already, with another key
  cp -r trained "$1"; rm -rf "$1/dist" "$1/ledger.jsonl"
  sed -i "s|^\[vendor\]$|[vendor]\nkey = $2|" "$1/sealwright.toml"
}
signs() { # signs WHAT KEY PUBLIC: packs with that key, and openssl verifies what was packed
  product "$1" "$2"; "$SEALWRIGHT" pack "$1" || return
  mkdir -p "$1/out"; tar xf "$1"/dist/*.sealed -C "$1/out"
  by_openssl "$1/out/manifest.sig" application/vnd.sealwright.manifest+json "$3"
}
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass env:SEALWRIGHT_KEY_PASSPHRASE -out ossl.pem
openssl pkey -in ossl.pem -passin env:SEALWRIGHT_KEY_PASSPHRASE -pubout -out ossl.pub
openssl pkcs8 -topk8 -scrypt -in ossl.pem -passin env:SEALWRIGHT_KEY_PASSPHRASE -passout env:SEALWRIGHT_KEY_PASSPHRASE -out ossl-scrypt.pem
openssl ec -in ossl.pem -passin env:SEALWRIGHT_KEY_PASSPHRASE -out ossl-sec1.pem 2>/dev/null
for key in ossl ossl-scrypt ossl-sec1; do
  check 0 "$key.pem signs a bundle" signs "by-$key" "\"$TMP/$key.pem\"" ossl.pub
done
check 0 'a command signs a bundle' signs by-command \
  "{ command = [\"openssl\", \"dgst\", \"-sha256\", \"-sign\", \"$TMP/ossl-sec1.pem\"], public = \"$TMP/ossl.pub\" }" ossl.pub
bundle=$(ls by-command/dist/*.sealed)
check 0 'a command signs a renewal' "$SEALWRIGHT" renew "$bundle" --until 2099-12-31 --product by-command --out r.renewal
check 0 'openssl verifies it'       by_openssl r.renewal application/vnd.sealwright.renewal+json ossl.pub
check 0 'a command signs a list'    "$SEALWRIGHT" ledger recall acme --product by-command
check 0 'openssl verifies it'       by_openssl by-command/vendor.revocations application/vnd.sealwright.revocations+json ossl.pub
finish
