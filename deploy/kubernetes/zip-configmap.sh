#!/usr/bin/env bash
# The agent as one zip in a ConfigMap, for charts that have no place for an init container.
#   zip-configmap.sh WHEEL-OR-ZIP [NAMESPACE] | kubectl apply -f -
# Python imports from a zip on PYTHONPATH, sitecustomize included. A ConfigMap holds 1 MiB.
set -euo pipefail
agent=${1:?the wheel dify_otel-*.whl, or dify-otel.zip} namespace=${2:-dify}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
case $agent in
*.whl)
python3 - "$agent" "$work/dify-otel.zip" <<'PY'
import sys, zipfile
source, target = sys.argv[1:]
with zipfile.ZipFile(source) as wheel, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
    names = [n for n in wheel.namelist() if not n.endswith("/")]
    for name in names:
        out.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), wheel.read(name), zipfile.ZIP_DEFLATED)
    out.writestr(zipfile.ZipInfo("sitecustomize.py", (1980, 1, 1, 0, 0, 0)),
                 wheel.read("dify_otel/inject/sitecustomize.py"), zipfile.ZIP_DEFLATED)
PY
;;
*.zip) cp "$agent" "$work/dify-otel.zip" ;;
*) echo "zip-configmap.sh: neither a .whl nor a .zip: $agent" >&2; exit 2 ;;
esac
# A ConfigMap is limited to 1 MiB, its base64 included.
size=$(base64 -w0 "$work/dify-otel.zip" | wc -c)
[ "$size" -lt 1048576 ] || { echo "zip-configmap.sh: $size bytes are more than a ConfigMap holds; use kubernetes/kustomize" >&2; exit 1; }
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: dify-otel-agent, namespace: %s}\nbinaryData:\n  dify-otel.zip: %s\n' \
    "$namespace" "$(base64 -w0 "$work/dify-otel.zip")"
