#!/bin/bash
# The kernels without a card: compiled by NVRTC (a wheel) for every kind of card, what they take held to cuobjdump's own
# reading, no spill that is not owned up to; their arithmetic on this CPU, in three orders of threads, held to the CPU's
# operations, and networks and runs out of them. Ends with `N passed, N failed`.
source "$(dirname "$0")/lib.sh"
pypi nvidia-cuda-nvrtc==13.0.88 nvidia-cuda-cuobjdump==13.2.51
site=$("$VENV/bin/python" -c 'import nvidia, os; print(os.path.join(list(nvidia.__path__)[0], "cu13"))')
deb c++ g++
cargo=(cargo --config "profile.release.debug=0")
[ -n "${CARGO_CONFIG:-}" ] && cargo=(cargo --config "$CARGO_CONFIG")
export SEALWRIGHT_CUDA_LIBS=$site/lib SEALWRIGHT_CUDA_CACHE=$TMP/kernels
build() { (cd "$ROOT" && "${cargo[@]}" build --release --quiet --example cuda_kernels); }
kernels() { (cd "$ROOT" && "${cargo[@]}" run --release --quiet --example cuda_kernels -- "$@"); }
check 0 'the checker builds with no CUDA on the machine' build
kernels >"$TMP/usage.txt" 2>"$TMP/said.txt"; got=$?
check 0 'every kernel compiles for sm_80, 89, 90a, 100a and 120a, and none spills unsaid' test $got -eq 0
cat "$TMP/usage.txt" "$TMP/said.txt"
# cuobjdump reads the same files
for f in "$SEALWRIGHT_CUDA_CACHE"/*.cubin; do "$site/bin/cuobjdump" -res-usage "$f"; done 2>/dev/null |
  sed -n 's/^ Function \(.*\):$/\1/p; s/^ *REG:\([0-9]*\) STACK:\([0-9]*\) .*/\1 \2/p' | paste -d' ' - - | sort >"$TMP/theirs.txt"
awk '/^sm_/ { for (i = 1; i <= NF; i++) { if ($i == "registers") used = $(i - 2) " " $(i - 1); if ($i == "stack") used = used " " $(i - 1) } print used }' "$TMP/usage.txt" | sort >"$TMP/ours.txt"
check 0 'registers and stack of each are what cuobjdump reads' diff "$TMP/ours.txt" "$TMP/theirs.txt"
check 0 'there are some' test "$(wc -l <"$TMP/ours.txt")" -ge 100
shim() { (cd "$ROOT" && "${cargo[@]}" test --release --quiet --lib -- "$@"); }
check 0 'every kernel makes on this CPU what the CPU makes' shim kernels::cuda
check 0 'networks and whole runs do too' shim model::card train::device
finish
