"""The bundle itself, sections 1 to 8 of FORMAT.md, whose numbers stand in brackets: what `reader.py` is made of."""
import base64, datetime, hashlib, json, os, pty, re, shutil, struct, subprocess, tempfile
from pathlib import Path

KiB, MiB, PIECE = 1 << 10, 1 << 20, 1 << 20
MANIFEST, IN_TOTO = 'application/vnd.sealwright.manifest+json', 'application/vnd.in-toto+json'
PAYLOAD, DAY = 'payload.tar.zst.age', 86400
HALF_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551 // 2
COMPONENT = re.compile(r'(?!(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$))[a-z0-9_][a-z0-9_.=+@,-]*(?<!\.)', re.I | re.A)

class Refused(Exception): pass
def demand(truth, code='bad-bundle'):
    if not truth: raise Refused(code)
def sha(data): return hashlib.sha256(data).hexdigest()
def day(text):
    return int(datetime.datetime.strptime(text, '%Y-%m-%d').replace(tzinfo=datetime.timezone.utc).timestamp())

# ---- Canonical JSON [Conventions] and what each object must hold: a key ending in ? is optional
INT, TEXT, BOOL = 'int', 'text', 'bool'
HEX, DATE, SLUG = re.compile('[0-9a-f]{64}'), re.compile(r'\d{4}-\d\d-\d\d', re.A), re.compile('[a-z0-9-]+')
ACTIVE = re.compile('config-code|custom-op|keras-code|native|pickle|python|script|unread')
VENDOR = {'name': TEXT, 'key': HEX}
ENVELOPE = {'payload': TEXT, 'payloadType': TEXT, 'signatures': [{'keyid': HEX, 'sig': TEXT}]}
FINGERPRINT = {'weights': HEX, 'config': HEX, 'tokenizer': HEX, 'template': HEX}
SHAPES = {MANIFEST: {
    'format': TEXT, 'development': BOOL, 'vendor': VENDOR, 'issued': INT, 'serial': INT, 'policy': HEX,
    'product': {'name': SLUG, 'title': TEXT, 'version': re.compile('[A-Za-z0-9][A-Za-z0-9.+-]*')},
    'bases': [{'name': TEXT, 'fingerprint': FINGERPRINT}], 'payload': {'size': INT, 'files': INT, 'header': HEX},
    'active?': [ACTIVE], 'recipe?': {'method': TEXT, 'rank': INT, 'alpha': TEXT, 'targets': [TEXT]},
    'entitlement': {'customer': SLUG, 'from?': DATE, 'until': DATE, 'uses': [re.compile('open|run|serve')],
                    'machines?': INT, 'seats?': INT, 'salt': HEX, 'recipients': [HEX]},
    'entries': [{'name': TEXT, 'size': INT, 'sha256': HEX}]}}
def fits(value, shape):
    if isinstance(shape, dict):
        keys = {key.rstrip('?'): key for key in shape}
        return (isinstance(value, dict) and value.keys() <= keys.keys()
                and all(key in value or full.endswith('?') for key, full in keys.items())
                and all(fits(value[key], shape[keys[key]]) for key in value))
    if isinstance(shape, list): return isinstance(value, list) and all(fits(one, shape[0]) for one in value)
    if shape in (INT, BOOL): return type(value) is (int if shape is INT else bool)
    return isinstance(value, str) and (shape is TEXT or bool(shape.fullmatch(value)))
def canonical(data, shape, code='bad-bundle'):
    def whole(text):
        demand(0 <= int(text) < 1 << 53, code); return int(text)
    def unique(pairs):
        demand(len(dict(pairs)) == len(pairs), code); return dict(pairs)
    try:
        value = json.loads(data.decode(), parse_int=whole, parse_float=whole, object_pairs_hook=unique)
        same = json.dumps(value, sort_keys=True, separators=(',', ':'), ensure_ascii=False).encode() == data
    except (ValueError, RecursionError): raise Refused(code)
    demand(same, code)
    shape = SHAPES.get(shape, shape) if isinstance(shape, str) else shape
    if code == 'bad-bundle' and 'format' in shape and isinstance(value, dict) and value.get('format') != 'sealwright/1':
        demand(not re.fullmatch(r'sealwright/[0-9]+', str(value.get('format'))), 'unsupported-version')
        raise Refused(code)
    demand(fits(value, shape), code)
    return value

# ---- The strict tar [1]
def header(name, size):
    size = b'%011o\0' % size if size < 8 << 30 else b'\x80\0\0\0' + struct.pack('>Q', size)
    block = bytearray(struct.pack('100s8s8s8s12s12s8s1s100s6s2s64s8s8s167s', name, b'0000644', b'0000000', b'0000000',
                                  size, b'0' * 11, b' ' * 8, b'0', b'', b'ustar', b'00', b'', b'0000000', b'0000000', b''))
    block[148:156] = b'%07o\0' % sum(block)
    return bytes(block)
def entries(file, end, most, last=None, limit=lambda name: 1 << 53):
    """(name, size, offset) of each entry, the last of which may have to be `last`; only zeros may follow it."""
    found, folded, folders = [], set(), {}
    while True:
        block = file.read(512); demand(len(block) == 512, 'truncated')
        if found and found[-1][0] == last: demand(not any(block))
        if not any(block):
            demand(last is None or found and found[-1][0] == last, 'truncated'); break
        size = int.from_bytes(block[128:136]) if block[124] == 0x80 else int(block[124:135] or b'0', 8) if re.fullmatch(
            rb'[0-7]{11}', block[124:135]) else -1
        name = block[:100].rstrip(b'\0')
        demand(0 <= size and header(name, size) == block and len(found) < most)
        name = name.decode('ascii', 'replace'); parts = name.split('/')
        demand(len(parts) <= 8 and all(COMPONENT.fullmatch(part) for part in parts) and name.lower() not in folded)
        folded.add(name.lower())
        for depth in range(1, len(parts)):
            path = '/'.join(parts[:depth]); demand(folders.setdefault(path.lower(), path) == path)
        demand(size <= limit(name)); found.append((name, size, file.tell()))
        padded = file.tell() + size + -size % 512; demand(padded <= end, 'truncated')
        file.seek(file.tell() + size); demand(not any(file.read(-size % 512)))
    demand(not folded & folders.keys())
    block = file.read(512); demand(len(block) == 512, 'truncated'); demand(not any(block) and not file.read(1))
    return found
def read(file, entry):
    file.seek(entry[2]); return file.read(entry[1])
def digest(file, entry, sink=None):
    file.seek(entry[2]); left, hasher = entry[1], hashlib.sha256()
    while left:
        data = file.read(min(left, MiB)); left -= len(data); demand(data, 'truncated')
        hasher.update(data); sink and sink.write(data)
    return hasher.hexdigest()

# ---- Signatures [5], keys [9], statements [10]
def run(*command, **more): return subprocess.run(command, capture_output=True, **more)
class Key:
    def __init__(self, path, bounds):
        text = Path(path).read_text()
        self.pem = run('openssl', 'pkey', '-pubin', '-in', path).stdout; demand(self.pem, 'bad-input')
        self.id = sha(run('openssl', 'pkey', '-pubin', '-in', path, '-outform', 'DER').stdout)
        self.development = '# sealwright development key: do not ship' in text.split('-----BEGIN')[0].splitlines()
        self.bounds = bounds
    def verifies(self, kind, payload, sig, low=True):
        with tempfile.TemporaryDirectory() as folder:
            key, signature = Path(folder, 'key'), Path(folder, 'sig')
            key.write_bytes(self.pem); signature.write_bytes(sig)
            signed = b'DSSEv1 %d %s %d %s' % (len(kind), kind.encode(), len(payload), payload)
            done = run('openssl', 'dgst', '-sha256', '-verify', key, '-signature', signature, input=signed)
        demand(done.returncode == 0, 'bad-signature') # which refuses anything but strict DER
        demand(not low or int.from_bytes(sig[6 + sig[3]:]) <= HALF_ORDER, 'bad-signature')
def base64_of(text, code):
    try: data = base64.b64decode(text, validate=True)
    except ValueError: raise Refused(code)
    demand(base64.b64encode(data).decode() == text, code); return data

# ---- Verify [2, 4, 5, 7]
def verify(path, keys):
    """What is whole, and who signed it: a key of `keys`, or None. Who may be taken is `reader.py`'s to say."""
    file = open(path, 'rb'); end = os.fstat(file.fileno()).st_size
    limits = {PAYLOAD: 1 << 53, 'manifest.json': MiB, 'manifest.sig': 2 * MiB}
    found = entries(file, end, 1024, 'manifest.sig', lambda name: limits.get(name, 16 * MiB)); names = [name for name, _, _ in found]
    papers = names[:-3]; texts = [name for name in papers if re.fullmatch('LICENSES/[^/]+', name)]
    demand(names[-3:] == [PAYLOAD, 'manifest.json', 'manifest.sig'] and texts and papers == sorted(papers))
    demand(papers[len(texts):] == ['MODEL_CARD.md', 'NOTICE', 'bom.cdx.json', 'report.json'])
    written = read(file, found[-2])
    envelope = canonical(read(file, found[-1]), ENVELOPE); signatures = envelope['signatures']
    demand(len(signatures) == 1 and envelope['payloadType'] == MANIFEST, 'bad-signature')
    demand(base64_of(envelope['payload'], 'bad-signature') == written, 'bad-signature')
    key = keys.get(signatures[0]['keyid'])
    if key: key.verifies(MANIFEST, written, base64_of(signatures[0]['sig'], 'bad-signature'))
    manifest = canonical(written, MANIFEST); granted = manifest['entitlement']
    demand(manifest['vendor']['key'] == signatures[0]['keyid'], 'bad-signature')
    demand(1 <= len(manifest['bases']) <= 16 and 1 <= len(granted['recipients']) <= 64)
    demand(manifest.get('active') != [])
    for ascending in (granted['uses'], granted['recipients'], manifest.get('active', [])): demand(ascending == sorted(set(ascending)))
    demand(all(granted.get(term, 1) >= 1 for term in ('machines', 'seats')) and manifest['payload']['files'] <= 65536)
    demand(manifest['payload']['size'] <= 4 << 40, 'too-large')
    demand([(one['name'], one['size']) for one in manifest['entries']] == [entry[:2] for entry in found[:-2]])
    for one, entry in zip(manifest['entries'], found): demand(digest(file, entry) == one['sha256'], 'damaged')
    return file, found, manifest, sha(written), key

# ---- Open [3, 4, 6, 7, 11]
def recipients_of(identity):
    text = Path(identity).read_text()
    if '-----BEGIN OPENSSH PRIVATE KEY' in text: # its public half stands in clear behind three strings and a count
        blob, at = base64.b64decode(''.join(text.split('-----')[2].split())), 15
        for _ in range(3): at += 4 + struct.unpack_from('>I', blob, at)[0]
        public = blob[at + 8:at + 8 + struct.unpack_from('>I', blob, at + 4)[0]]
        return ['ssh-ed25519 ' + base64.b64encode(public).decode()]
    return run('age-keygen', '-y', identity).stdout.decode().split()
def decrypt(file, entry, header, args, folder):
    plain = folder / 'payload.tar.zst'; sealed = folder / 'payload.age'
    with open(sealed, 'wb') as sink: hashed = digest(file, entry, sink)
    begin = sealed.open('rb').read(16 * MiB); lines = begin.split(b'\n--- ')[0]
    end = begin.find(b'\n', len(lines) + 1) + 1 or len(begin)
    demand(sha(begin[:end + 16]) == header)
    stanzas = re.findall(rb'(?m)^-> (\S+)(?: (.*))?$', lines)
    for kind, rest in stanzas:
        if kind == b'scrypt':
            demand(len(stanzas) == 1); demand(not args.identity, 'wrong-customer')
            demand(int(rest.split()[-1]) <= 20, 'too-large')
    if args.identity: done = run('age', '-d', '-i', args.identity, '-o', plain, sealed)
    else: done = at_a_terminal(['age', '-d', '-o', plain, sealed], Path(args.passphrase_file).read_bytes().strip())
    said = done.stderr.decode(errors='replace')
    demand('no identity matched' not in said and 'incorrect' not in said, 'wrong-customer')
    demand(done.returncode == 0); plain.touch() # age makes no file of nothing
    return plain, hashed
def at_a_terminal(command, passphrase):
    """age asks for a passphrase at a terminal only."""
    child, terminal = pty.fork()
    if child == 0: os.execvp(command[0], command)
    said = b''
    while True:
        try: part = os.read(terminal, 1024)
        except OSError: break
        if not part: break
        if b'passphrase' in part and b'passphrase' not in said: os.write(terminal, passphrase + b'\n')
        said += part
    return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), b'', said)
def unframed(plain, size, folder):
    """Holds each zstd frame's header and blocks to section 3, then lets zstd inflate them."""
    with open(plain, 'rb') as file:
        for start in range(0, size, PIECE):
            piece, first = min(PIECE, size - start), file.tell()
            tail = (b'\x20' + struct.pack('<B', piece) if piece < 256 else b'\x60' + struct.pack('<H', piece - 256)
                    if piece < 65792 else b'\xa0' + struct.pack('<I', piece))
            head = file.read(4 + len(tail)); demand(len(head) == 4 + len(tail), 'truncated')
            demand(head == b'\x28\xb5\x2f\xfd' + tail)
            last = 0
            while not last:
                block = file.read(3); demand(len(block) == 3, 'truncated'); block = int.from_bytes(block, 'little')
                last, kind, length = block & 1, block >> 1 & 3, block >> 3
                demand(kind != 3 and length <= 128 * KiB); file.seek(1 if kind == 1 else length, os.SEEK_CUR)
                demand(file.tell() - first <= PIECE + 8 * KiB)
                demand(file.tell() <= os.path.getsize(plain), 'truncated')
        demand(not file.read(1))
    tar = folder / 'payload.tar'
    demand(run('zstd', '-dqf', plain, '-o', tar).returncode == 0 and tar.stat().st_size == size)
    return tar
def check_model_sig(data, key, manifest, files, digests):
    try:
        bundle = json.loads(data); envelope = bundle['dsseEnvelope']
        payload = base64_of(envelope['payload'], 'inner-signer-differs')
        statement, sig = json.loads(payload), base64_of(envelope['signatures'][0]['sig'], 'inner-signer-differs')
        resources = [{'name': name, 'algorithm': 'sha256', 'digest': digests[name]} for name in files]
        root = sha(b''.join(bytes.fromhex(digests[name]) for name in files)); product = manifest['product']
        ignored = ['.git', '.gitattributes', '.github', '.gitignore', 'model.sig']
        same = bundle == {
            'mediaType': 'application/vnd.dev.sigstore.bundle.v0.3+json',
            'verificationMaterial': {'publicKey': {'hint': sha(key.pem)}, 'tlogEntries': []},
            'dsseEnvelope': {'payload': envelope['payload'], 'payloadType': IN_TOTO,
                             'signatures': [{'keyid': '', 'sig': envelope['signatures'][0]['sig']}]}
        } and statement == {
            '_type': 'https://in-toto.io/Statement/v1', 'predicateType': 'https://model_signing/signature/v1.0',
            'subject': [{'name': f"{product['name']}-{product['version']}", 'digest': {'sha256': root}}],
            'predicate': {'resources': resources, 'serialization': {
                'method': 'files', 'hash_type': 'sha256', 'allow_symlinks': False, 'ignore_paths': ignored}}}
        demand(same); key.verifies(IN_TOTO, payload, sig, low=False)
    except (Refused, ValueError, KeyError, TypeError, IndexError, RecursionError): raise Refused('inner-signer-differs')
def open_bundle(args, file, found, manifest, key, state):
    granted = manifest['entitlement']
    mine = recipients_of(args.identity) if args.identity else ['passphrase']
    hidden = {sha(bytes.fromhex(granted['salt']) + one.encode()) for one in mine}
    demand(hidden & set(granted['recipients']) or args.identity and 'AGE-PLUGIN-' in Path(args.identity).read_text(),
           'wrong-customer')
    demand(set(manifest.get('active', [])) <= set(args.allow_active), 'active-content')
    seen = ' '.join((key.id, manifest['product']['name'], granted['customer']))
    demand(manifest['serial'] >= state.get(seen, 0), 'older-bundle'); state[seen] = manifest['serial']
    size = manifest['payload']['size']; out = Path(args.out)
    demand(shutil.disk_usage(out.absolute().parent).free > size, 'too-large'); demand(not out.exists(), 'output-exists')
    with tempfile.TemporaryDirectory(dir=out.absolute().parent) as folder:
        folder = Path(folder); sealed = manifest['entries'][-1]
        plain, hashed = decrypt(file, found[-3], manifest['payload']['header'], args, folder); demand(hashed == sealed['sha256'], 'damaged')
        with open(unframed(plain, size, folder), 'rb') as tar:
            inner = entries(tar, size, 65536, limit=lambda name: 16 * MiB if name == 'model.sig' else 1 << 53)
            digests = {entry[0]: digest(tar, entry) for entry in inner}
            *files, last = [entry[0] for entry in inner]; papers = [one['name'] for one in manifest['entries'][:-1]]
            demand(len(inner) == manifest['payload']['files'] and last == 'model.sig')
            demand(files == sorted(set(files) - set(papers)) + papers)
            demand({name for name in files if name.startswith('LICENSES/')} <= set(papers))
            for one in manifest['entries'][:-1]: demand(digests.get(one['name']) == one['sha256'])
            check_model_sig(read(tar, inner[-1]), key, manifest, sorted(files), digests)
            for entry in inner:
                target = folder / 'out' / entry[0]; target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, 'wb') as sink: digest(tar, entry, sink)
        os.rename(folder / 'out', out)
