#!/usr/bin/env bash
# Starts Dify's own nginx entrypoint, unchanged, with our `nginx` first on PATH. The shim adds tracing to the configuration
# that Dify's script has just written. It is copied first: a checkout or a zip may have lost its execute bit.
set -e
shim=$(mktemp -d "${TMPDIR:-/tmp}/dify-otel-shim.XXXXXX") && {
    cp /opt/dify-otel/nginx/bin/nginx "$shim/nginx" && sed -i 's/\r$//' "$shim/nginx" && chmod 755 "$shim/nginx" && PATH=$shim:$PATH
} || echo "dify-otel: nginx starts without tracing: could not place the shim" >&2
export PATH
cp /docker-entrypoint-mount.sh /docker-entrypoint.sh
sed -i 's/\r$//' /docker-entrypoint.sh
chmod +x /docker-entrypoint.sh
exec /docker-entrypoint.sh
