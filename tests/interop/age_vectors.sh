#!/usr/bin/env bash
# The age project's own vectors (C2SP CCTV, as the npm package cctv-age has them), through our reader of age's chunks.
. "$(dirname "$0")/lib.sh"
deb npm npm; deb python3 python3
npm install --silent --no-fund --no-audit cctv-age@0.2.0 >/dev/null 2>&1 || { echo 'cannot install cctv-age'; exit 2; }
cat > unpack.mjs <<'J'
import * as m from 'cctv-age'; import fs from 'node:fs';
fs.mkdirSync('packed');
for (const [name, bytes] of Object.entries(m.default ?? m)) fs.writeFileSync('packed/' + name, bytes);
J
cat > unpack.py <<'P'
"""One folder a vector: the file, the identity or passphrase, and the digest of what it opens to, empty where it must not."""
import os, zlib
ANY = open("packed/x25519", "rb").read().split(b"identity: ")[1].split(b"\n")[0].decode()
skipped = 0
for name in sorted(os.listdir("packed")):
    head, body = open(f"packed/{name}", "rb").read().split(b"\n\n", 1)
    meta = {}
    for line in head.decode().split("\n"):
        key, value = line.split(": ", 1)
        meta.setdefault(key, []).append(value)
    # bundles are binary files, and have no identities of the post-quantum kind; the age crate still reads two older
    # forms of a header, which is its part of the work
    older = name in ("stanza_missing_body", "stanza_missing_final_line")
    if older or "armored" in meta or any(i.startswith("AGE-SECRET-KEY-PQ-") for i in meta.get("identity", [])):
        skipped += 1
        continue
    if meta.get("compressed") == ["zlib"]:
        body = zlib.decompress(body)
    os.makedirs(f"vectors/{name}")
    put = lambda what, data: open(f"vectors/{name}/{what}", "wb").write(data)
    put("file", body)
    if "passphrase" in meta:
        put("passphrase", meta["passphrase"][-1].encode())
    else:
        # a vector without an identity must be refused before one is asked for
        put("identity", ("\n".join(meta.get("identity", [ANY])) + "\n").encode())
    put("expect", (meta["payload"][0] if meta["expect"] == ["success"] else "").encode())
print(len(os.listdir("vectors")), "vectors,", skipped, "skipped")
P
node unpack.mjs && python3 unpack.py || exit 2
check 0 'each opens to what it must, or is refused' env SEALWRIGHT_AGE_VECTORS="$TMP/vectors" \
  cargo test --release --lib --quiet --manifest-path "$ROOT/Cargo.toml" the_age_projects_vectors -- --ignored
cp "$TMP/.out" "$TMP/said" # the next check writes its own
check 0 'they were looked at' grep -q '1 passed' "$TMP/said"
finish
