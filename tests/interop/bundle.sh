#!/usr/bin/env bash
# Standard tools alone verify a bundle and get the adapter back, identical to what `sealwright open` gives.
. "$(dirname "$0")/lib.sh"
deb openssl openssl; deb age age; deb zstd zstd; deb jq jq
by_hand() (
  set -e -o pipefail
  mkdir -p "$2/opened"; tar xf "$1" -C "$2"; cd "$2"
  T=application/vnd.sealwright.manifest+json
  { printf 'DSSEv1 %d %s %d ' ${#T} $T "$(stat -c %s manifest.json)"; cat manifest.json; } > pae
  jq -j '.signatures[0].sig' manifest.sig | base64 -d > sig
  openssl dgst -sha256 -verify "$VENDOR" -signature sig pae
  jq -r '.entries[] | .sha256 + "  " + .name' manifest.json | sha256sum -c --quiet
  age -d -i "$IDENTITY" payload.tar.zst.age | zstd -dq | tar xf - -C opened
)
check 0 'tar, openssl, age and zstd open it'  by_hand "$BUNDLE" hand
check 0 'sealwright verifies it'              "$SEALWRIGHT" verify "$BUNDLE" --trust "$VENDOR"
check 0 'sealwright opens it'                 "$SEALWRIGHT" open "$BUNDLE" --trust "$VENDOR" --identity "$IDENTITY" --out ours
check 0 'both get the same files'             diff -r hand/opened ours
check 0 'there is an adapter among them'      test -s ours/adapter_model.safetensors
check 0 'the papers are the same inside'      bash -c 'for f in LICENSES MODEL_CARD.md NOTICE bom.cdx.json report.json; do diff -r hand/$f hand/opened/$f || exit; done'
check 0 'the envelope is about the manifest'  bash -c 'jq -j .payload hand/manifest.sig | base64 -d | cmp - hand/manifest.json'
check 0 'the key id is that of the key'       bash -c 'openssl pkey -pubin -in "$0" -outform DER | sha256sum | cut -c1-64 | diff - <(jq -r ".signatures[0].keyid" hand/manifest.sig)' "$VENDOR"
check 0 'the manifest is in canonical order'  bash -c 'jq -cjS . hand/manifest.json | cmp - hand/manifest.json'
flip() { # flip OFFSET: a copy of the bundle with one bit of that byte changed
  local byte; byte=$(od -An -tu1 -j "$1" -N 1 "$BUNDLE") && cp "$BUNDLE" flipped
  printf "\\x$(printf %02x $((byte ^ 1)))" | dd of=flipped bs=1 seek="$1" conv=notrunc status=none
  [ "$(cmp -l "$BUNDLE" flipped | wc -l)" = 1 ] || exit 2
}
for offset in 512 1100 6000 12000; do
  flip $offset
  check 1 "a flipped bit at $offset is refused" "$SEALWRIGHT" verify flipped --trust "$VENDOR"
done
head -c -1 "$BUNDLE" > cut
check 1 'a byte less is refused'              "$SEALWRIGHT" verify cut --trust "$VENDOR"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out other.pem 2>/dev/null; openssl pkey -in other.pem -pubout -out other.pub
check 3 'a key made by openssl is read, and not the signer' "$SEALWRIGHT" verify "$BUNDLE" --trust other.pub
check 0 'openssl reads our keys'              bash -c '"$0" keygen vendor --out v.pem </dev/null && openssl pkey -in v.pem -pubout | cmp - v.pub.pem' "$SEALWRIGHT"
check 0 'openssl reads a development key'     bash -c '"$0" keygen vendor --development --out d.pem && openssl pkey -in d.pem -pubout | cmp - d.pub.pem' "$SEALWRIGHT"
check 0 'age reads our identities'            bash -c '"$0" keygen identity --out i.txt > said && age-keygen -y i.txt | cmp - said' "$SEALWRIGHT"
finish
