#!/usr/bin/env bash
# A bundle through a real registry on the loopback (Debian's docker-registry), with skopeo and curl as other clients.
. "$(dirname "$0")/lib.sh"
deb docker-registry docker-registry; deb skopeo skopeo; deb curl curl; deb jq jq; deb htpasswd apache2-utils
PORT=${PORT:-5707}; R=127.0.0.1:$PORT; NAME=$R/example/helpdesk:1.0.0-acme
cat > r.yml <<Y
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $TMP/reg}, delete: {enabled: true}}
auth: {htpasswd: {realm: test, path: $TMP/htpasswd}}
http: {addr: $R}
Y
htpasswd -Bbn user word > htpasswd
docker-registry serve r.yml >r.log 2>&1 & REGISTRY=$!
trap 'kill $REGISTRY; rm -rf "$TMP"' EXIT
for _ in $(seq 50); do curl -s "http://$R/v2/" >/dev/null && break; sleep 0.1; done
export REGISTRY_AUTH_FILE=$TMP/auth.json DOCKER_CONFIG=$TMP
check 2 'a registry that asks is not told what we do not know' "$SEALWRIGHT" push "$BUNDLE" $NAME
check 0 'skopeo logs in'                        skopeo login --tls-verify=false -u user -p word $R
check 0 'the bundle is pushed, as skopeo logged in' "$SEALWRIGHT" push "$BUNDLE" $NAME
check 0 'again, and nothing is sent'            bash -c '"$0" push --json "$1" $2 | jq -e ".sent == 0"' "$SEALWRIGHT" "$BUNDLE" $NAME
check 0 'it is pulled'                          "$SEALWRIGHT" pull $NAME --trust "$VENDOR" --out pulled
check 0 'byte for byte'                         bash -c 'cmp "$0" pulled/*.sealed' "$BUNDLE"
check 3 'a stranger is named before it comes'   "$SEALWRIGHT" pull $NAME --out strange
check 1 'and nothing was made'                  test -e strange
POLICY=--insecure-policy
check 0 'skopeo sees the artifact'              bash -c 'skopeo inspect --tls-verify=false --raw docker://$0 | tee raw | jq -e ".artifactType == \"application/vnd.sealwright.bundle.v1\""' $NAME
check 0 'skopeo copies it on'                   skopeo $POLICY copy --src-tls-verify=false --dest-tls-verify=false docker://$NAME docker://$R/other/copy:1
check 0 'the copy has the same digest'          bash -c 'skopeo inspect --tls-verify=false --raw docker://$0/other/copy:1 | cmp - raw' $R
check 0 'the copy is pulled, by its digest'     "$SEALWRIGHT" pull $R/other/copy@sha256:"$(sha256sum < raw | cut -c1-64)" --trust "$VENDOR" --out copied
check 0 'and is the bundle'                     bash -c 'cmp "$0" copied/*.sealed' "$BUNDLE"
check 0 'skopeo fetches it into a folder'       skopeo $POLICY copy --src-tls-verify=false docker://$NAME oci:layout:x
check 0 'its blobs, joined, are the bundle'     bash -c 'jq -r ".layers[].digest" raw | sed "s|sha256:|layout/blobs/sha256/|" | xargs cat | cmp - "$0"' "$BUNDLE"
check 0 'the last blob alone is a tar'          bash -c 'tar tf layout/blobs/sha256/$(jq -r ".layers[-1].digest" raw | cut -d: -f2) | tr "\n" " " | grep -qx "manifest.json manifest.sig "'
check 0 'a folder that skopeo filled is pushed on' skopeo $POLICY copy --dest-tls-verify=false oci:layout:x docker://$R/third/copy:2
check 0 'and pulled'                            "$SEALWRIGHT" pull $R/third/copy:2 --trust "$VENDOR" --out third
check 2 'a tag that is not there'               "$SEALWRIGHT" pull $R/example/helpdesk:none --trust "$VENDOR"
# a pull that was cut: half of the first part lies there under its temporary name
rm -rf resumed; mkdir resumed; digits=$(sha256sum < raw | cut -c1-16); name=$(basename pulled/*.sealed)
head -c 7000 "$BUNDLE" > "resumed/.$name.$digits.partial"
check 0 'a pull goes on'                        "$SEALWRIGHT" pull $NAME --trust "$VENDOR" --out resumed
check 0 'to the same bundle'                    bash -c 'cmp "$0" resumed/*.sealed && [ "$(ls -A resumed | wc -l)" = 1 ]' "$BUNDLE"
finish
