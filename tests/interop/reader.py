#!/usr/bin/env python3
"""A second reader of sealed bundles, written from FORMAT.md alone: Python's library and the commands openssl, age, zstd.

    reader.py BUNDLE --trust KEY.pem|TRUST.toml [--identity FILE | --passphrase-file FILE] [--renewal FILE]
              [--state FILE.json] [--at SECONDS] [--allow-active KIND] [--out FOLDER]

Prints "ok" or the code of FORMAT.md that refuses the bundle. With --out it opens the bundle, else it verifies it.
Numbers in brackets are sections of FORMAT.md. Of section 7 it leaves out the base: it runs nothing. It does not look at
what it unpacks [16].
"""
import argparse, json, sys, time, tomllib
from pathlib import Path
from reader_bundle import (DATE, DAY, ENVELOPE, HEX, INT, SHAPES, TEXT, VENDOR, Key, MiB, Refused, base64_of, canonical,
                           day, demand, open_bundle, verify)

RENEWAL, REVOCATIONS = 'application/vnd.sealwright.renewal+json', 'application/vnd.sealwright.revocations+json'
SHAPES[RENEWAL] = {'format': TEXT, 'vendor': VENDOR, 'issued': INT, 'bundle': HEX, 'serial': INT, 'until': DATE}
SHAPES[REVOCATIONS] = {'format': TEXT, 'vendor': VENDOR, 'issued': INT, 'number': INT, 'next': DATE,
                       'keys': [{'key': HEX, 'until?': DATE}], 'bundles': [{'bundle': HEX, 'on': DATE}]}
TABLE = {'public', 'vendor', 'products', 'from', 'until', 'status', 'pins'}

# ---- Trust files [13]
def load_trust(path, now):
    """The keys by id, and the rest of the file."""
    if 'BEGIN' in Path(path).read_text(): return {key.id: key for key in [Key(path, {})]}, {}
    trust, near = tomllib.loads(Path(path).read_text()), Path(path).parent; keys = {}
    demand(trust.keys() <= {'updated', 'revocations', 'key'}, 'bad-input')
    for one in trust['key']:
        demand({'public', 'vendor'} <= one.keys() <= TABLE, 'bad-input')
        demand(one.get('status', 'active') in ('active', 'retired', 'compromised'), 'bad-input')
        demand(one.get('status') != 'retired' or 'until' in one or one.get('pins'), 'bad-input')
        key = Key(near / one['public'], one); demand(key.id not in keys, 'bad-input'); keys[key.id] = key
    demand(now + DAY >= day(trust.get('updated', '1970-01-01')), 'clock-set-back')
    return keys, trust | {'revocations': [near / name for name in trust.get('revocations', [])]}
def covers(key, manifest):
    bounds, name = key.bounds, manifest['product']['name']
    return (bounds.get('vendor') in (None, manifest['vendor']['name']) and name in bounds.get('products', [name]))
def judge_key(key, issued, listed, identity=None):
    """May this key have signed on that day? `listed` is what revocation lists say of it."""
    bounds, pins = key.bounds, key.bounds.get('pins', [])
    if identity in pins: return
    retired = [one['until'] for one in listed if 'until' in one]
    demand(bounds.get('status') != 'compromised' and len(retired) == len(listed), 'revoked-key')
    demand(not ((retired or bounds.get('status') == 'retired') and pins), 'revoked-key')
    first, last = bounds.get('from'), min(filter(None, [bounds.get('until'), *retired]), default=None)
    demand((first is None or issued >= day(first)) and (last is None or issued < day(last) + DAY), 'revoked-key')

# ---- Statements [10], renewals [11], revocation lists [12]
def statement(path, kind, keys):
    data = Path(path).read_bytes(); demand(len(data) <= 8 * MiB, 'bad-statement')
    envelope = canonical(data, ENVELOPE, 'bad-statement'); demand(len(envelope['signatures']) == 1, 'bad-statement')
    demand(envelope['payloadType'] == kind, 'bad-signature')
    one = envelope['signatures'][0]; key = keys.get(one['keyid']); demand(key, 'unknown-signer')
    payload = base64_of(envelope['payload'], 'bad-statement')
    key.verifies(kind, payload, base64_of(one['sig'], 'bad-signature'))
    said = canonical(payload, kind, 'bad-statement'); vendor = said['vendor']
    demand(said['format'] == 'sealwright/1', 'bad-statement')
    demand(vendor['key'] == key.id and vendor['name'] == key.bounds.get('vendor', vendor['name']), 'bad-statement')
    return said, key
def renewal(path, manifest, identity, keys, listed, state):
    """A renewal of this bundle, by its own key or another that is bounded to its vendor and product."""
    may = {id: key for id, key in keys.items()
           if covers(key, manifest) and ('vendor' in key.bounds or id == manifest['vendor']['key'])}
    said, by = statement(path, RENEWAL, may)
    demand(said['vendor']['name'] == manifest['vendor']['name'], 'bad-statement')
    judge_key(by, said['issued'], listed(by))
    demand(said['bundle'] == identity, 'wrong-bundle')
    demand(said['until'] > manifest['entitlement']['until'], 'bad-statement')
    demand(said['serial'] >= state.get('renewal ' + identity, 0), 'older-statement')
    state['renewal ' + identity] = said['serial']
    return said
def lists(trust, keys, now, state):
    """Each list with its vendor's name; its number is held against those seen before."""
    read = []
    for path in trust.get('revocations', []):
        demand(now + DAY >= state.get('opened', 0), 'clock-set-back')
        said, by = statement(path, REVOCATIONS, keys); judge_key(by, said['issued'], [])
        demand(said['issued'] <= now + DAY, 'clock-set-back')
        demand(len(said['keys']) + len(said['bundles']) <= 32768, 'bad-statement')
        for name, member in (('keys', 'key'), ('bundles', 'bundle')):
            names = [one[member] for one in said[name]]; demand(names == sorted(set(names)), 'bad-statement')
        vendor, stolen = by.bounds['vendor'], {one['key'] for one in said['keys'] if 'until' not in one}
        seen = state.setdefault('lists', {}).setdefault(vendor, {})
        counted = [number for id, number in seen.items() if id not in stolen
                   and (id not in keys or keys[id].bounds.get('status') != 'compromised')]
        demand(said['number'] >= max(counted, default=0), 'older-statement')
        seen[by.id] = max(said['number'], seen.get(by.id, 0)); read.append((vendor, said))
    return read

# ---- The order [7]
def read(args, state):
    now, (keys, trust) = args.at, load_trust(args.trust, args.at)
    taken_back = lists(trust, keys, now, state)
    file, found, manifest, identity, key = verify(args.bundle, keys)
    demand(key and covers(key, manifest), 'unknown-signer')
    ours = lambda key: [said for vendor, said in taken_back if vendor == key.bounds.get('vendor')]
    listed = lambda key: [one for said in ours(key) for one in said['keys'] if one['key'] == key.id]
    demand(not any(identity == one['bundle'] for said in ours(key) for one in said['bundles']), 'revoked-bundle')
    judge_key(key, manifest['issued'], listed(key), identity)
    demand(all(now < day(said['next']) + DAY for said in ours(key)), 'stale-revocations')
    demand(not manifest['development'], 'development-key')
    granted = manifest['entitlement']; until, moments = granted['until'], [manifest['issued'], state.get('opened', 0)]
    if args.renewal:
        renewed = renewal(args.renewal, manifest, identity, keys, listed, state)
        until = renewed['until']; moments.append(renewed['issued'])
    if not args.out: return
    demand(now + DAY >= max(moments), 'clock-set-back')
    demand('from' not in granted or now >= day(granted['from']), 'not-yet-valid')
    demand(now < day(until) + DAY, 'expired'); demand('open' in granted['uses'], 'use-not-granted')
    open_bundle(args, file, found, manifest, key, state)
    state['opened'] = max(now, state.get('opened', 0))

def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('bundle'); parser.add_argument('--trust', required=True)
    for flag in ('identity', 'passphrase-file', 'renewal', 'out', 'state'): parser.add_argument('--' + flag)
    parser.add_argument('--allow-active', action='append', default=[])
    parser.add_argument('--at', type=int, default=int(time.time()))
    args = parser.parse_args(argv)
    state = json.loads(Path(args.state).read_text()) if args.state and Path(args.state).exists() else {}
    try: read(args, state); said = 'ok'
    except Refused as refused: said = str(refused)
    except OSError: said = 'io'
    if args.state and said == 'ok': Path(args.state).write_text(json.dumps(state))
    print(said); return 0 if said == 'ok' else 1
if __name__ == '__main__': sys.exit(main())
