#!/usr/bin/env bash
# The identification beside ScanCode's and, where `askalono` is on the path or CARGO_PEERS=1 lets cargo install it,
# askalono's: the texts of the SPDX list that have a record, and the same texts with one word put in, left out or with
# their end cut off. Right: the licence for the text, anything but a certain name for an altered one. No text is kept.
. "$(dirname "$0")/lib.sh"
pypi 'scancode-toolkit-mini==32.5.0' 'pluggy==1.5.0' typecode-libmagic
ours=${LICENSE_TEXT:-$ROOT/target/release/examples/license_text}
[ -n "${LICENSE_TEXT:-}" ] || cargo build --quiet --release --manifest-path "$ROOT/Cargo.toml" --example license_text || exit 2
command -v askalono >/dev/null || [ "${CARGO_PEERS:-}" != 1 ] || cargo install --quiet --root "$TMP" askalono-cli
PATH=$TMP/bin:$PATH
"$ours" --listed "$TMP/texts" || exit 2
"$VENV/bin/python" - "$TMP/texts" "$ours" <<'P'
import glob, os, random, re, subprocess, sys, time
folder, ours = sys.argv[1:]
kinds = ("whole", "a word put in", "a word left out", "cut off")
for path in sorted(glob.glob(folder + "/*.txt")):
    text = open(path, encoding="utf-8").read()
    chance = random.Random(os.path.basename(path))
    words = [m for m in re.finditer(r"\b[a-z]{3,}\b", text) if len(text) * 0.3 < m.start() < len(text) * 0.7]
    one = chance.choice(words)
    altered = (text[: one.start()] + "not " + text[one.start() :], text[: one.start()] + text[one.end() + 1 :], text[: len(text) * 3 // 5])
    for n, other in enumerate(altered, 1):
        open(f"{path[:-4]}.{n}.alt", "w", encoding="utf-8").write(other)
files = sorted(glob.glob(folder + "/*.txt") + glob.glob(folder + "/*.alt"))
wanted = lambda f: re.sub(r"(\.\d\.alt|\.txt)$", "", os.path.basename(f))
kind = lambda f: kinds[int(f[-5])] if f.endswith(".alt") else kinds[0]
same = lambda a, b: re.sub("-(only|or-later)$", "", a.lower()) == re.sub("-(only|or-later)$", "", b.lower())

def sealwright():
    lines = subprocess.run([ours, "--identify", *files], capture_output=True, text=True, check=True).stdout.splitlines()
    for line in lines:
        file, what = line.split("\t")
        yield file, None if what.startswith(("similar", "unknown")) else what

def scancode():
    from licensedcode.cache import build_spdx_license_expression
    from scancode.api import get_licenses
    get_licenses(files[0])
    begun[0] = time.time()
    for file in files:
        found = get_licenses(file)
        scores = [m["score"] for d in found["license_detections"] for m in d["matches"]]
        whole = found["percentage_of_license_text"] > 95 and scores and min(scores) >= 99
        expression = found["detected_license_expression_spdx"]
        yield file, expression if whole else None

def askalono():
    for file in files:
        out = subprocess.run(["askalono", "id", file], capture_output=True, text=True).stdout
        name = re.search(r"License: ([^ \n]+)", out)
        yield file, name and name[1]

begun = [0.0]
for name, identify in (("sealwright", sealwright), ("ScanCode 32.5.0 (a match of 99 or more over 95 % of the file)", scancode), ("askalono", askalono)):
    if name == "askalono" and subprocess.run("command -v askalono", shell=True, capture_output=True).returncode:
        print("askalono: not at hand"); continue
    begun[0], tally = time.time(), {k: [0, 0, 0] for k in kinds}
    for file, said in identify():
        whole = kind(file) == kinds[0]
        right = (said is not None and same(said, wanted(file))) if whole else said is None
        tally[kind(file)][0 if right else 2 if said is None else 1] += 1
    each = (time.time() - begun[0]) / len(files) * 1e3
    print(f"{name}: {each:.2f} ms a file, of {len(files)}")
    for k, (right, wrong, none) in tally.items():
        print(f"  {k}: {right} right, {wrong} wrong, {none} none")
P
