#!/bin/bash
# Two ranks over MPI (feature `mpi`): they end with the adapter that one rank makes, to 1e-6, the same bytes each time, and
# the same bytes over the loopback of one machine; without the feature processes of mpirun are refused. Ends with `N passed, N failed`.
source "$(dirname "$0")/lib.sh"
deb mpirun openmpi-bin
deb mpicc libopenmpi-dev
ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1 || deb clang 'clang libclang-dev'
pypi numpy safetensors
cargo=(cargo)
[ -n "${CARGO_CONFIG:-}" ] && cargo=(cargo --config "$CARGO_CONFIG")
build() { (cd "$ROOT" && "${cargo[@]}" build --release --quiet --features mpi --target-dir "${MPI_TARGET:-$ROOT/target/mpi}"); }
check 0 'the program builds with ranks' build
program=${MPI_TARGET:-$ROOT/target/mpi}/release/sealwright
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 RAYON_NUM_THREADS=1
product() { # product NAME: a copy of the first example, 12 steps of 4 rows
  cp -r "$ROOT/examples/01-helpdesk" "$TMP/$1"; rm -rf "$TMP/$1/.sealwright"
  sed -i '/^epochs *=/d; /^steps *=/d; /^batch *=/d; s/^\[train\]$/[train]\nsteps = 12\nbatch = 4\nmicro-batch = 2/' "$TMP/$1/sealwright.toml"
}
ranks() { mpirun --oversubscribe -n 2 "$program" train "$TMP/$1"; }
over_loopback() { # over_loopback NAME: the same two without MPI
  local port rank
  port=$("$VENV/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  for rank in 1 0; do
    RANK=$rank LOCAL_RANK=$rank WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port \
      SEALWRIGHT_RANKS_TOKEN=$(printf 'x%.0s' {1..32}) "$program" train "$TMP/$1" &
  done
  wait -n && wait -n
}
same() { # same A B TOLERANCE
  "$VENV/bin/python" - "$TMP/$1" "$TMP/$2" "$3" <<'P'
import sys, pathlib, numpy
from safetensors.numpy import load_file
a, b = (load_file(next(pathlib.Path(p).rglob("adapter_model.safetensors"))) for p in sys.argv[1:3])
assert a.keys() == b.keys()
off = max(float(numpy.abs(a[k].astype("f8") - b[k]).max()) for k in a)
size = max(float(numpy.abs(a[k]).max()) for k in a)
print(f"largest difference {off:.3g} of {size:.3g}")
sys.exit(off > float(sys.argv[3]))
P
}
for name in one two again near broken; do product $name; done
check 0 'one rank' "$program" train "$TMP/one"
check 0 'two ranks' ranks two
check 0 'two ranks again' ranks again
check 0 'two ranks over the loopback' over_loopback near
check 0 'one and two make the same adapter to 1e-6' same one two 1e-6
check 0 'two and two make the same bytes' same two again 0
check 0 'MPI and the loopback make the same bytes' same two near 0
grep -q '2 ranks' "$(find "$TMP/two" -name run.json)"; check 0 'the record says how many' test $? -eq 0
check 2 'without the feature several processes are refused' env OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 "$SEALWRIGHT" train "$TMP/broken"
check 2 'variables that are no rank are refused' env RANK=2 WORLD_SIZE=2 "$program" train "$TMP/broken"
finish
