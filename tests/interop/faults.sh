#!/usr/bin/env bash
# Faults in the middle of pack and open, by strace: killed before any call that changes a disk, a full disk, errors on
# reading, syncing and renaming. After each, no final name holds anything but what is whole, and the next run succeeds.
# STEP=N walks every Nth point only, READS=N every Nth read: a pack has hundreds, most of them of the licence records.
. "$(dirname "$0")/lib.sh"
deb strace strace
STEP=${STEP:-1} READS=${READS:-7}
# All that changes what stands on a disk: to be killed between two calls is to be killed before one of these.
CHANGES=write,pwrite64,writev,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,ftruncate,fsync,fdatasync,chmod,fchmod
strace -f -qq -o /dev/null -e inject=getppid:error=EPERM true 2>/dev/null || { echo 'strace may not trace here'; exit 2; }
mkdir theirs base
cp "$ROOT"/examples/01-helpdesk/base/* base
python3 - <<'P'
import json, struct
def tensors(path, named):
    header, data = {}, b""
    for name, rows, columns in named:
        values = struct.pack(f"<{rows * columns}f", *((i * 37 % 101) / 101 for i in range(rows * columns)))
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    head = json.dumps(header).encode()
    open(path, "wb").write(struct.pack("<Q", len(head)) + head + data)
module = "base_model.model.model.layers.0.self_attn.q_proj"
tensors("theirs/adapter_model.safetensors", [(module + ".lora_A.weight", 4, 64000), (module + ".lora_B.weight", 64, 4)])
json.dump({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "base_model_name_or_path": "nano",
           "task_type": "CAUSAL_LM", "bias": "none"}, open("theirs/adapter_config.json", "w"))
P
"$SEALWRIGHT" keygen vendor --out vendor.pem </dev/null >/dev/null 2>&1
RECIPIENT=$("$SEALWRIGHT" keygen identity --out id.txt 2>/dev/null)
{ shop adapter base theirs; customer acme "[\"$RECIPIENT\"]"; } > sealwright.toml
SEALED=dist/shop-1.0.0-acme.sealed
pack() { "$@" "$SEALWRIGHT" pack .; }
open() { "$@" "$SEALWRIGHT" open kept.sealed --trust vendor.pub.pem --identity id.txt --out out; }
whole() { # whole: what has a final name is whole
  if [ -e $SEALED ]; then "$SEALWRIGHT" verify $SEALED --trust vendor.pub.pem || return 1; fi
  if [ -e out ]; then diff -r out kept || return 1; fi
}
again() { # again WHAT: the next run succeeds, and no temporary name stands beside what it made
  rm -rf out; $1 || return 1
  whole || return 1
  [ -z "$(ls -A . dist | grep '\.partial$')" ] || { ls -A . dist; return 1; }
}
swept() { # whatever was left anywhere is gone when its folder has been written into again
  rm -rf dist out .sealwright/stages.json; pack && open || return 1
  [ -z "$(find . -name '*.partial')" ] || { find . -name '*.partial'; return 1; }
}
pack >/dev/null 2>&1 && cp $SEALED kept.sealed && open >/dev/null 2>&1 && mv out kept || { echo 'cannot pack and open'; pack; open; exit 2; }
walk() { # walk 'what' pack|open SYSCALLS FAULT: the fault at each point, until the command gets through without meeting it
  local what=$1 command=$2 calls=$3 fault=$4 n=1 met=0 got
  while :; do
    rm -rf out dist .sealwright/stages.json
    rm -f met
    $command strace -f -qq -o met -e trace="$calls" -e inject="$calls:$fault:when=$n" >said 2>&1; got=$?
    grep -qE 'INJECTED|killed by SIGKILL' met || break
    met=$((met + 1))
    if ! whole >said2 2>&1; then bad "$what at $n" said2; return; fi
    if [ $got = 0 ] && [ $command = pack ] && [ ! -e $SEALED ]; then bad "$what at $n: exit 0 and no bundle" said; return; fi
    if ! again $command >said2 2>&1; then bad "$what at $n: the next run" said2; return; fi
    n=$((n + STEP))
  done
  if [ $met -gt 0 ]; then PASS=$((PASS + 1)); echo "ok   $command: $what, at $met points"
  else bad "$command: $what: no point was met" said; fi
}
bad() { FAIL=$((FAIL + 1)); echo "FAIL $1"; head -5 "$2" | sed 's/^/     /'; }
for command in pack open; do
  walk 'killed before any change' $command $CHANGES signal=KILL
  walk 'a disk that is full at one write' $command write,pwrite64,writev error=ENOSPC
  walk 'no room for a name' $command mkdir,mkdirat,rename,renameat,renameat2 error=ENOSPC
  walk 'a sync that fails' $command fsync,fdatasync error=EIO
  STEP=$READS walk 'a read that fails' $command read,pread64 error=EIO
done
check 0 'nothing temporary is left' swept
finish
