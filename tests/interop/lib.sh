# Sourced by the scripts here: installs what is missing, counts checks. Each script runs from anywhere, works in a
# temporary folder, and ends with "N passed, N failed". BUNDLE, IDENTITY and VENDOR name another bundle than the
# committed one; SEALWRIGHT the program; INTEROP_VENV a folder for Python packages that outlives the run.
set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
SEALWRIGHT=${SEALWRIGHT:-$ROOT/target/release/sealwright}
BUNDLE=$(realpath "${BUNDLE:-$ROOT/tests/vectors/good.sealed}")
IDENTITY=$(realpath "${IDENTITY:-$ROOT/tests/vectors/keys/identity.txt}")
VENDOR=$(realpath "${VENDOR:-$ROOT/tests/vectors/keys/vendor.pub.pem}")
TMP=$(mktemp -d); trap 'rm -rf "$TMP"' EXIT
VENV=${INTEROP_VENV:-$TMP/venv}; PASS=0; FAIL=0
export SEALWRIGHT_STATE=$TMP/state
cd "$TMP" || exit 2
deb() { # deb COMMAND PACKAGE
  command -v "$1" >/dev/null && return
  { apt-get update && apt-get install -y --no-install-recommends "$2"; } >/dev/null 2>&1 || { echo "cannot install $2"; exit 2; }
}
pypi() { # pypi REQUIREMENT...
  [ -x "$VENV/bin/python" ] || python3 -m venv "$VENV" || exit 2
  "$VENV/bin/pip" install -q --disable-pip-version-check "$@" || exit 2
  PATH=$VENV/bin:$PATH
}
check() { # check WANTED_EXIT_CODE|fail 'what' command...
  local want=$1 what=$2 got; shift 2
  "$@" >.out 2>&1; got=$?
  if [ "$want" = "$got" ] || { [ "$want" = fail ] && [ $got -ne 0 ]; }; then PASS=$((PASS + 1)); echo "ok   $what"
  else FAIL=$((FAIL + 1)); echo "FAIL $what: exit $got, wanted $want"; sed 's/^/     /' .out | head -20; fi
}
finish() { echo "$PASS passed, $FAIL failed"; [ $FAIL -eq 0 ]; exit; }
shop() { # shop SHIP BASE DERIVATIVE: the product file of a derivative of the vendor's own; its customers follow
  cat <<T
[vendor]
name = "Example Works"
key = "vendor.pem"
[product]
name = "shop"
title = "Example Shop"
version = "1.0.0"
[base]
path = "$2"
[use]
ship = "$1"
terms = "closed"
commercial = true
fields = []
trains-models-on-outputs = false
[derivative]
path = "$3"
own = true
T
}
customer() { printf '[[customer]]\nname = "%s"\nrecipients = %s\nuntil = "2099-12-31"\n' "$1" "$2"; } # customer NAME LIST
