#!/usr/bin/env bash
# What picklescan calls dangerous, `pack` refuses, in every protocol and packing; what other tools write is found or silent
# as it should be: joblib, NumPy, ONNX, HDF5, safetensors.
. "$(dirname "$0")/lib.sh"
pypi picklescan==1.0.5 numpy onnx==1.19.1 joblib safetensors h5py
mkdir -p shop/samples; cd shop || exit 2
cat > make.py <<'P'
"""Samples: dangerous/… picklescan must call dangerous, found/… has active content, silent/… has none."""
import gzip, io, json, pickle, sys, zipfile, zlib
from pathlib import Path
import h5py, joblib, numpy, onnx
from onnx import TensorProto, helper
from picklescan import scanner
from safetensors.numpy import save_file

root = Path('samples')
def put(name, data):
    path = root / name; path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data) if isinstance(data, bytes) else data(path)
def call(module, name, protocol):
    """A pickle that calls module.name('x'), as each protocol writes it."""
    if protocol < 2: return f"c{module}\n{name}\n(S'x'\ntR.".encode()
    if protocol < 4: return b'\x80' + bytes([protocol]) + f'c{module}\n{name}\n'.encode() + b'U\x01x\x85R.'
    text = lambda t: b'\x8c' + bytes([len(t)]) + t.encode()
    return b'\x80' + bytes([protocol]) + text(module) + text(name) + b'\x93' + text('x') + b'\x85R.'
def zipped(name, data, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', compression) as z: z.writestr(name, data)
    return out.getvalue()

# one for each thing that picklescan knows, the protocols in turn
for at, (module, names) in enumerate(sorted(scanner._unsafe_globals.items())):
    for name in sorted(names if isinstance(names, (set, list, tuple)) else [names]):
        name = 'anything' if name == '*' else name
        put(f'dangerous/{module}.{name}.pkl', call(module, name, at % 6))
evil = [call('posix', 'system', protocol) for protocol in range(6)]
for protocol, data in enumerate(evil):
    put(f'dangerous/{protocol}.pt', data)
    put(f'found/{protocol}.broken.pkl', data[:-1] + b'\xff')
    put(f'dangerous/{protocol}.second.pkl', b'\x80\x02K\x01.' + data)
    put(f'dangerous/{protocol}.zip', zipped('archive/data.pkl', data))
    put(f'dangerous/{protocol}.deflated.zip', zipped('archive/data.pkl', data, zipfile.ZIP_DEFLATED))
    put(f'found/{protocol}.json', data)
    put(f'found/{protocol}.pkl.gz', gzip.compress(data)); put(f'found/{protocol}.z', zlib.compress(data))
flagged = bytearray(zipped('archive/data.pkl', evil[2]))
for magic, at in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)): flagged[flagged.index(magic) + at] |= 1
put('found/says-it-is-encrypted.pt', bytes(flagged))
class Evil:
    def __reduce__(self): return print, ('x',)
put('found/objects.npy', lambda path: numpy.save(path, numpy.array([Evil()], dtype=object), allow_pickle=True))
put('found/objects.npz', lambda path: numpy.savez(path, x=numpy.array([{}], dtype=object)))
for method in ('zlib', 'gzip', 'bz2', 'lzma', 'xz'):
    put(f'found/{method}.joblib', lambda path: joblib.dump({'w': numpy.arange(9)}, path, compress=(method, 3)))
put('found/plain.joblib', lambda path: joblib.dump({'w': numpy.arange(9)}, path))

def graph(op, domain):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in 'xy')
    sets = [helper.make_opsetid('', 20)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    inner = helper.make_graph([helper.make_node(op, ['x'], ['y'], domain=domain)], 'g', [x], [y])
    return helper.make_model(inner, opset_imports=sets)
put('found/custom.onnx', graph('Run', 'example.ops').SerializeToString())
put('silent/standard.onnx', graph('Relu', '').SerializeToString())
def nested():
    x, y, c = (helper.make_tensor_value_info(n, t, [1]) for n, t in (('x', 1), ('y', 1), ('c', TensorProto.BOOL)))
    branch = lambda op, domain: helper.make_graph([helper.make_node(op, ['x'], ['y'], domain=domain)], 'b', [], [y])
    node = helper.make_node('If', ['c'], ['y'], then_branch=branch('Relu', ''), else_branch=branch('Run', 'example.ops'))
    return helper.make_model(helper.make_graph([node], 'g', [x, c], [y]))
put('found/in-a-branch.onnx', nested().SerializeToString())
def keras(layer):
    def write(path):
        with h5py.File(path, 'w') as f:
            f.attrs['model_config'] = json.dumps({'config': {'layers': [{'class_name': layer, 'config': {}}]}})
            f['w'] = numpy.arange(1000.0)
    return write
put('found/lambda.h5', keras('Lambda')); put('silent/dense.h5', keras('Dense'))
put('silent/model.safetensors', lambda path: save_file({'w': numpy.arange(999, dtype='f4')}, path))
put('silent/numbers.npy', lambda path: numpy.save(path, numpy.arange(999)))
put('silent/numbers.npz', lambda path: numpy.savez_compressed(path, a=numpy.arange(99999), b=numpy.ones(9)))
put('silent/plain.pkl', pickle.dumps({'a': [1, 2.5, 'x', None, (1, 2), b'y', {3}]}))
put('silent/tokenizer.json', json.dumps({'model': {'vocab': {w: i for i, w in enumerate('cos system R . posix'.split())}}}).encode())
P
python make.py || exit 2
"$SEALWRIGHT" keygen vendor --out vendor.pem </dev/null >/dev/null 2>&1 && "$SEALWRIGHT" keygen identity --out id.txt > id.pub 2>/dev/null || exit 2
says() { # says SAMPLE: the code that packing it ends with
  { shop merged "$ROOT/examples/01-helpdesk/base" "$1"; customer acme "[\"$(cat id.pub)\"]"; } > sealwright.toml
  "$SEALWRIGHT" pack --json . 2>/dev/null | python3 -c 'import json, sys; v = json.load(sys.stdin); print(v.get("error", {}).get("code", "packed"))'
}
missed() { # missed CODE FOLDER: samples that end otherwise
  local wrong=0 count=0
  for sample in samples/"$2"/*; do
    count=$((count + 1)); [ "$(says "$sample")" = "$1" ] || { echo "$sample: $(says "$sample")"; wrong=1; }
  done
  echo "$count samples"; [ $count -gt 5 ] && return $wrong
}
dangerous() { for sample in samples/dangerous/*; do picklescan -p "$sample" >/dev/null 2>&1; [ $? -eq 1 ] || echo "$sample"; done > other; ! [ -s other ] || { cat other; false; }; }
check 0 "picklescan calls $(ls samples/dangerous | wc -l) samples dangerous" dangerous
check 0 'and each is refused' missed active-content dangerous
check 0 'what hides from it is found' missed active-content found
check 0 'plain data is silent' missed packed silent
check fail 'a test that would notice a miss' missed active-content silent
finish
