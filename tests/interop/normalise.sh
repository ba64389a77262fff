#!/usr/bin/env bash
# The normalisation says the same of every text as its definition in Python: on the folder of texts that
# SEALWRIGHT_LICENSE_TEXTS names, and on mutations of them. NORMALISE names the definition (it is no part of this project;
# by default beside that folder); without both nothing is compared, which is said aloud.
texts=${SEALWRIGHT_LICENSE_TEXTS:-}; definition=${NORMALISE:-${texts:+$texts/../normalise.py}}
if [ ! -d "$texts" ] || [ ! -f "$definition" ]; then
  echo "skipped: SEALWRIGHT_LICENSE_TEXTS names no folder of texts, or NORMALISE no definition"; exit 0
fi
texts=$(realpath "$texts"); definition=$(realpath "$definition")
. "$(dirname "$0")/lib.sh"
ours=${LICENSE_TEXT:-$ROOT/target/release/examples/license_text}
[ -n "${LICENSE_TEXT:-}" ] || cargo build --quiet --release --manifest-path "$ROOT/Cargo.toml" --example license_text || exit 2
mkdir mutated
python3 - "$texts" "${MUTATIONS:-10}" <<'P'
import glob, os, random, sys
spans = ["**", "_", "`", "\n> ", "\n- ", "\u200b", "\u00ad", "\u2019", "\u201c", "&amp;", "&#169;", "<b>", "</b>", "<!-- x -->", "~~", "(c)",
         "\u00a9", "\u2122", " 1,000,000 ", " 2(b)(ii) ", "$5", "\u20ac", "\u00a5", "\u2264", "\t", "\f", "\r\n", "\u2028", "\u202e", "\u00b2",
         "[a](b)", "<https://a.b>", "\ufb01", "\u0130", "\u03a3", "\uff11", "\u00a0", "=", "+", "~~~~", "***", "\\*", "\x07", "\U0001f600"]
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.txt"))):
    text, name = open(path, encoding="utf-8", newline="").read(), os.path.basename(path)
    for n in range(int(sys.argv[2])):
        chance = random.Random(f"{name} {n}")
        parts, at = [], sorted(chance.randrange(len(text) + 1) for _ in range(12))
        for a, b in zip([0] + at, at + [len(text)]):
            parts += [text[a:b], chance.choice(spans)]
        open(f"mutated/{n}-{name}", "w", encoding="utf-8", newline="").write("".join(parts[:-1]))
P
same() { diff <(python3 "$definition" "$@") <("$ours" --tokens "$@"); }
check 0 "the $(ls "$texts"/*.txt | wc -l) texts have the same streams" same "$texts"/*.txt
check 0 "their $(ls mutated | wc -l) mutations, too" same mutated/*
finish
