#!/bin/sh
# Adds to a directory with dify-otel what the OpenTelemetry Operator looks for: a sitecustomize in the place of OpenTelemetry's
# own. No __init__.py anywhere on the way: the directories only add to the namespace packages of Dify's venv.
set -eu
root=$1
hook=$root/opentelemetry/instrumentation/auto_instrumentation
mkdir -p "$hook"
cp "$root/dify_otel/inject/sitecustomize.py" "$hook/sitecustomize.py"
chmod -R a+rX "$root"
