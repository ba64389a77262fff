#!/usr/bin/env bash
# The identification beside askalono's and ScanCode's on the same files: every text of the folder that
# SEALWRIGHT_LICENSE_TEXTS names, or without one the SPDX list's texts that have a record; and the same texts with one word
# put in, one left out, a number altered (where there is one), or their end cut off. Right: a certain name and the right
# one for a text, no certain name for an altered one. For a text that no program can have a name for, because it is none of
# the licences on the SPDX list or in ScanCode's collection, `none` is what a peer can say. No text is kept.
# CARGO_PEERS=1 lets cargo install askalono; SCANCODE names a Python that has scancode-toolkit-mini; NICE runs the peers
# at another priority. Times are the processor's, of the program and its children.
. "$(dirname "$0")/lib.sh"
ours=${LICENSE_TEXT:-$ROOT/target/release/examples/license_text}
[ -n "${LICENSE_TEXT:-}" ] || cargo build --quiet --release --manifest-path "$ROOT/Cargo.toml" --example license_text || exit 2
if [ -z "${SCANCODE:-}" ]; then
  pypi 'scancode-toolkit-mini==32.5.0' 'pluggy==1.5.0' typecode-libmagic; SCANCODE=$VENV/bin/python
fi
command -v askalono >/dev/null || [ "${CARGO_PEERS:-}" != 1 ] || cargo install --quiet --root "$TMP" askalono-cli
PATH=$TMP/bin:$PATH
if [ -n "${SEALWRIGHT_LICENSE_TEXTS:-}" ]; then mkdir texts && cp "$SEALWRIGHT_LICENSE_TEXTS"/*.txt texts/
else "$ours" --listed texts || exit 2; fi
"$SCANCODE" - "$TMP/texts" "$ours" "$ROOT/tests/licenses/texts.toml" <<'P'
import glob, os, random, re, resource, subprocess, sys, tomllib
folder, ours, known = sys.argv[1:]
table = tomllib.load(open(known, "rb"))
table = table.get("texts", table)
kinds = ("whole", "a word put in", "a word left out", "a number altered", "cut off")
for path in sorted(glob.glob(folder + "/*.txt")):
    text = open(path, encoding="utf-8").read()
    chance = random.Random(os.path.basename(path))
    inside = lambda m: len(text) * 0.3 < m.start() < len(text) * 0.7
    words = [m for m in re.finditer(r"\b[a-z]{3,}\b", text) if inside(m)] or [m for m in re.finditer(r"\w{2,8}", text) if inside(m)]
    one = chance.choice(words)
    altered = {1: text[: one.start()] + "not " + text[one.start() :], 2: text[: one.start()] + text[one.end() + 1 :],
               4: text[: len(text) * 3 // 5]}
    numbers = [m for m in re.finditer(r"(?<=[a-z] )[1-9][0-9]{0,2}(?= [a-z])", text) if m.start() > len(text) * 0.1]
    if numbers:
        one = chance.choice(numbers)
        altered[3] = text[: one.start()] + str(int(one[0]) + 7) + text[one.end() :]
    for n, other in altered.items():
        open(f"{path[:-4]}.{n}.alt", "w", encoding="utf-8").write(other)
files = sorted(glob.glob(folder + "/*.txt") + glob.glob(folder + "/*.alt"))
stem = lambda f: re.sub(r"(\.\d\.alt|\.txt)$", "", os.path.basename(f))
kind = lambda f: kinds[int(f[-5])] if f.endswith(".alt") else kinds[0]
wanted = lambda f: table.get(stem(f), stem(f)).removesuffix(" use-policy").removeprefix("page of ")
plain = lambda a: re.sub("-(only|or-later)$", "", re.sub("^licenseref-(scancode-)?", "", a.lower()))
# what a peer calls a licence of ours that is on no list: a name that begins alike; each such pair is printed, to be read
squeezed = lambda a: re.sub(r"[^a-z0-9]", "", plain(a))
def same(said, want):
    alike = want.startswith("LicenseRef-") and squeezed(said)[:5] == squeezed(want)[:5]
    return plain(said) == plain(want) or alike

def sealwright():
    lines = subprocess.run([ours, "--identify", *files], capture_output=True, text=True, check=True).stdout.splitlines()
    for line in lines:
        file, what = line.split("\t")
        # a text that belongs to several licences, as a use policy may, is named by any of them
        names = [] if what.startswith(("similar", "unknown")) else what.split(" ")
        yield file, next((n for n in names if plain(n) == plain(wanted(file))), names[0]) if names else None

def scancode():
    from licensedcode.cache import build_spdx_license_expression
    from scancode.api import get_licenses
    get_licenses(files[0])
    begun[0] = used()
    for file in files:
        found = get_licenses(file)
        scores = [m["score"] for d in found["license_detections"] for m in d["matches"]]
        whole = found["percentage_of_license_text"] > 95 and scores and min(scores) >= 99
        yield file, found["detected_license_expression_spdx"] if whole else None

def askalono():
    for file in files:
        out = subprocess.run(["askalono", "id", file], capture_output=True, text=True).stdout
        name = re.search(r"License: ([^ \n]+)", out)
        yield file, name and name[1]

def used():
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))

begun = [0.0]
for name, identify in (("sealwright", sealwright), ("askalono", askalono), ("ScanCode 32.5.0 (a match of 99 or more over 95 % of the file)", scancode)):
    if name == "askalono" and subprocess.run("command -v askalono", shell=True, capture_output=True).returncode:
        print("askalono: not at hand", flush=True); continue
    begun[0], tally, wrongs = used(), {k: [0, 0, 0] for k in kinds}, []
    for file, said in identify():
        whole = kind(file) == kinds[0]
        expected = wanted(file)
        nothing = expected.startswith("none: ")
        right = (said is None if nothing else said is not None and same(said, expected)) if whole else said is None
        tally[kind(file)][0 if right else 2 if said is None else 1] += 1
        if whole and said is not None and plain(said) != plain(expected):
            wrongs.append(f"{stem(file)}, here {expected}: {said}")
    each = (used() - begun[0]) / len(files) * 1e3
    print(f"{name}: {each:.2f} ms of processor time a file, of {len(files)}", flush=True)
    for k, (right, wrong, none) in tally.items():
        print(f"  {k}: {right} right, {wrong} wrong, {none} none")
    for line in wrongs:
        print(f"    another name for a whole text: {line}")
P
