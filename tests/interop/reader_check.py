"""Runs `reader.py` over the vectors, over what attacks wrote (`SEALWRIGHT_ATTACKS`), and compares each answer's code.

    reader_check.py vectors FOLDER | attacks FOLDER
"""
import contextlib, datetime, io, json, re, sys, tempfile, tomllib
from pathlib import Path
import reader

def answer(*argv):
    said = io.StringIO()
    with contextlib.redirect_stdout(said): reader.main([str(arg) for arg in argv])
    return said.getvalue().strip()
def vectors(folder):
    for vector in tomllib.loads((folder / 'index.toml').read_text())['vector']:
        with tempfile.TemporaryDirectory() as near:
            args, keys = [folder / vector['file'], '--trust', folder / 'keys' / vector['trust']], folder / 'keys'
            if 'identity' in vector: args += ['--identity', keys / vector['identity'], '--out', f'{near}/out']
            if 'passphrase' in vector:
                Path(near, 'passphrase').write_text(vector['passphrase'])
                args += ['--passphrase-file', f'{near}/passphrase', '--out', f'{near}/out']
            if 'renewal' in vector: args += ['--renewal', folder / vector['renewal']]
            yield ' '.join(str(value) for value in vector.values()), vector['expect'], answer(*args)
def attacks(folder):
    for path in sorted(folder.glob('*/case.json')):
        case, near = json.loads(path.read_text()), path.parent
        with tempfile.TemporaryDirectory() as own:
            Path(own, 'passphrase').write_text('x')
            for number, run in enumerate(case['runs']):
                at = int(datetime.datetime.fromisoformat(run['at']).timestamp())
                args = [near / 'b.sealed', '--trust', near / run['trust'], '--at', at]
                args += ['--state', f'{own}/state', '--out', f'{own}/out{number}']
                args += ['--passphrase-file', f'{own}/passphrase'] if run.get('passphrase') else ['--identity', run['identity']]
                if run.get('renewal'): args += ['--renewal', near / run['renewal']]
                last = answer(*args)
        yield case['what'], case['expect'], last
right = wrong = 0
for what, expect, got in {'vectors': vectors, 'attacks': attacks}[sys.argv[1]](Path(sys.argv[2])):
    if got == expect: right += 1
    else: wrong += 1; print(f'{what}: {got}, wanted {expect}')
print(f'{right} answers agree, {wrong} differ')
sys.exit(wrong > 0 or right == 0)
