#!/bin/sh
# Puts the dify-otel package into $DIFY_OTEL_TARGET, from a wheel in $DIFY_OTEL_WHEELS when one is there, else from the
# package index. Always ends with 0: Dify's services wait for this one to succeed, and a failure of ours must not stop
# them. With nothing installed their PYTHONPATH names a directory that does not exist, which Python ignores.
set -u
target=${DIFY_OTEL_TARGET:-/out}
package=${DIFY_OTEL_PACKAGE:-dify-otel}
wheels=${DIFY_OTEL_WHEELS:-/wheels}
say() { echo "dify-otel: $*"; }

wheel=
for f in "$wheels"/dify_otel-*.whl; do [ -e "$f" ] && wheel=$f; done
want=$package
[ -z "$wheel" ] || want="$wheel $(cksum < "$wheel")"

if [ -d "$target/dify_otel" ] && [ "$(cat "$target/.installed" 2>/dev/null)" = "$want" ]; then
    say "already installed: $want"
    exit 0
fi

new=$target/.new
rm -rf "$new"
if [ -n "$wheel" ]; then
    mkdir -p "$new" && python3 -m zipfile -e "$wheel" "$new"
else
    # --no-deps: the agent uses the OpenTelemetry packages of Dify's venv and must never bring its own before them
    python3 -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore --no-deps \
        --retries 2 --timeout 20 --target "$new" "$package"
fi
if [ ! -e "$new/dify_otel/inject/sitecustomize.py" ]; then
    say "COULD NOT INSTALL $want. Dify starts without tracing (or with the version installed before)."
    rm -rf "$new"
    exit 0
fi
python3 -m compileall -q "$new" || true
chmod -R a+rX "$new"
# A process that is starting meanwhile sees the old package or the new one, or for an instant none, never a mixture.
rm -rf "$target/.old" && mkdir "$target/.old"
for d in "$target"/dify_otel*; do [ ! -e "$d" ] || mv "$d" "$target/.old/"; done
for d in "$new"/*; do mv "$d" "$target/"; done
rm -rf "$new" "$target/.old"
printf '%s\n' "$want" > "$target/.installed"
say "installed $want"
exit 0
