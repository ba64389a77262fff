#!/bin/bash
# Everything that a card must be asked, in one go and in under 8 minutes: tests first, then our figures, then the peers'.
#
#   benches/gpu.sh --pack FOLDER      on a machine that builds: the test and bench programs, and every kernel as a CUBIN
#                                     (where NVRTC is), so that the card's machine needs a driver and cublasLt alone
#   benches/gpu.sh FOLDER [RESULTS]   on the card's machine: raw results go to RESULTS (default: FOLDER/results)
#   benches/gpu.sh --dry-run FOLDER [RESULTS]   says what it would run, and what is missing; prints the planner's figures
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dry=
case "${1:-}" in
--pack)
    out=$(mkdir -p "$2" && cd "$2" && pwd)
    cd "$here/.." || exit 2
    program() { # program CARGO-ARGUMENTS...: builds one, prints its path
        cargo "$@" --message-format=json-render-diagnostics |
            sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1
    }
    set -e
    cp "$(program test --release --lib --no-run)" "$out/tests"
    cp "$(program bench --bench card --no-run)" "$out/card"
    cp "$(program bench --bench card_step --no-run)" "$out/card_step"
    cp "$here/gpu.sh" "$here/peer_card.py" "$out/"
    rm -rf "$out/golden" && cp -r "$here/../tests/golden" "$out/golden"
    SEALWRIGHT_CUDA_CACHE=$out/kernels cargo run --release --quiet --example cuda_kernels >"$out/kernels.txt" ||
        echo 'no NVRTC here: the kernels are compiled on the card'"'"'s machine' >&2
    exit ;;
--dry-run) dry=yes; shift ;;
esac
folder=$(cd "${1:?a folder that --pack made}" && pwd) || exit 2
results=${2:-$folder/results}
missing=0
budget=0
need() { [ -e "$folder/$1" ] || { echo "missing: $1 ($2)"; missing=1; }; }
need tests 'benches/gpu.sh --pack'
need card 'benches/gpu.sh --pack'
need card_step 'benches/gpu.sh --pack'
need golden 'benches/gpu.sh --pack'
need peer_card.py 'benches/gpu.sh --pack'
[ -d "$folder/kernels" ] && export SEALWRIGHT_CUDA_CACHE=$folder/kernels
step() { # step NAME SECONDS COMMAND...
    local name=$1 seconds=$2; shift 2
    budget=$((budget + seconds))
    if [ -n "$dry" ]; then echo "would run, at most $seconds s: $*"; return; fi
    echo "== $name"
    { echo "# $name: $*"; date -u +'# %F %T UTC'; timeout "$seconds" "$@" 2>&1; echo "# exit $?"; } | tee "$results/$name.txt"
}
if [ -n "$dry" ]; then
    [ -x "$folder/card" ] && { "$folder/card" --plan || missing=1; }
    [ -x "$folder/card_step" ] && { "$folder/card_step" --plan || missing=1; }
    # the tests that need no card pass here as they are, and the list of those that would run there is not empty
    if [ -x "$folder/tests" ]; then
        for filter in kernels::cuda model::card train::device; do
            n=$(SEALWRIGHT_GOLDEN=$folder/golden "$folder/tests" "$filter" --list 2>/dev/null | grep -c ': test$')
            echo "tests of $filter: $n"
            [ "$n" -gt 0 ] || { echo "missing: tests of $filter"; missing=1; }
        done
    fi
    n=$(ls "$folder"/kernels/*.cubin 2>/dev/null | wc -l)
    echo "kernels that were packed: $n$([ "$n" -gt 0 ] || echo '; NVRTC must be on the card'"'"'s machine')"
    python3 -m py_compile "$folder/peer_card.py" 2>/dev/null || echo 'peer_card.py: no python3 here that reads it'
else
    [ $missing = 0 ] || exit 2
    mkdir -p "$results"
fi
step card 10 nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv
# 60: kernels compile where no CUBIN was packed
export SEALWRIGHT_GOLDEN=$folder/golden
step tests 90 env SEALWRIGHT_NEED_CARD=1 "$folder/tests" kernels::cuda model::card train::device --test-threads=1
step first 40 "$folder/card"
step step-8b 80 "$folder/card_step" 8b
step step-135m 30 "$folder/card_step" 135m
step step-8b-nf4 80 "$folder/card_step" 8b-nf4
python=${PEERS_PYTHON:-python3}
if [ -n "$dry" ] || "$python" -c 'import torch' 2>/dev/null; then
    step peers 140 "$python" "$folder/peer_card.py"
else
    echo 'no torch here: no peers' | tee "$results/peers.txt"
fi
[ -n "$dry" ] && { echo "in all at most $budget s"; [ $budget -le 480 ] || missing=1; }
exit $missing
