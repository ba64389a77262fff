#!/usr/bin/env bash
# OpenSSF's own tool accepts the opened folder, and refuses a changed one.
. "$(dirname "$0")/lib.sh"
pypi 'model-signing==1.1.1' pyOpenSSL
verify() { model_signing verify key "$1" --signature "$1/model.sig" --public_key "$2"; }
check 0 'sealwright opens it' "$SEALWRIGHT" open "$BUNDLE" --trust "$VENDOR" --identity "$IDENTITY" --out opened
check 0 'model_signing accepts the folder' verify opened "$VENDOR"
cp -r opened changed; printf x >> changed/adapter_config.json
check 1 'a changed file is refused' verify changed "$VENDOR"
cp -r opened more; echo x > more/extra.txt
check 1 'a file more is refused' verify more "$VENDOR"
cp -r opened less; rm less/NOTICE
check 1 'a file less is refused' verify less "$VENDOR"
"$SEALWRIGHT" keygen vendor --out other.pem >/dev/null 2>&1
check 1 'another key is refused' verify opened other.pub.pem
finish
