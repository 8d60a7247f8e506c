#!/usr/bin/env bash
# Prepares what the tests and the demo need on a machine that has nothing but Debian and some Python 3.12.
#   tests/environment.sh demo    the environment of the demo (Redis, one venv)
#   tests/environment.sh test    that, and what the test suites need (PostgreSQL, nginx, Chromium)
# Idempotent: a stamp of the requirement files decides whether a venv is made anew. Prints the venv's path last.
set -euo pipefail
cd "$(dirname "$0")/.."
WHAT=${1:-test}
CACHE=${DIFY_OTEL_CACHE:-$HOME/.cache/dify-otel}
mkdir -p "$CACHE"

find_python() {
  local candidate
  for candidate in "${DIFY_OTEL_PYTHON:-}" "$(command -v python3.12 || true)" \
      "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12*/bin/python3.12 \
      /usr/local/bin/python3.12 /opt/*/bin/python3.12 /usr/bin/python3; do
    [ -n "$candidate" ] && [ -x "$candidate" ] || continue
    # A version manager's shim exists without the version behind it: ask, do not trust.
    "$candidate" -c 'import sys, venv, ensurepip; raise SystemExit(sys.version_info[:2] != (3, 12))' 2>/dev/null || continue
    echo "$candidate"; return 0
  done
  echo "no Python 3.12 with venv found; set DIFY_OTEL_PYTHON to one" >&2
  return 1
}

debian() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  echo "installing from Debian: ${missing[*]}" >&2
  # Services must not start by themselves: the suites start their own, on ports of their own.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}" >/dev/null
}

venv() { # name, requirement files...
  local name=$1 python stamp; shift
  local home="$CACHE/venv-$name"
  stamp=$(cat "$@" pyproject.toml | sha256sum | cut -c1-16)
  if [ "$(cat "$home/.stamp" 2>/dev/null || true)" != "$stamp" ]; then
    python=$(find_python)
    echo "making the environment $home (a few minutes, once)" >&2
    rm -rf "$home"
    "$python" -m venv "$home"
    "$home/bin/python" -m pip install -q --disable-pip-version-check --upgrade pip >&2
    local arguments=()
    for file in "$@"; do arguments+=(-r "$file"); done
    "$home/bin/python" -m pip install -q --disable-pip-version-check "${arguments[@]}" >&2
    echo "$stamp" > "$home/.stamp"
  fi
  # The agent itself: into a folder of its own, as a Dify container gets it.
  local target="$CACHE/agent"
  rm -rf "$target" "$CACHE/agent-build"
  "$home/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --target "$target" . >&2
  echo "$home"
}

case $WHAT in
  demo)
    debian redis-server
    venv demo tests/standin/requirements.txt tests/requirements-demo.txt ;;
  test)
    # Debian's own Python is one more for the matrix: 3.11 in Debian 12, 3.13 in Debian 13.
    debian redis-server postgresql nginx-light chromium openssl procps python3-venv
    # A real collector checks the collector files; building it takes minutes, once, and needs Go.
    tests/deploy/tools.sh collector >/dev/null || echo "no collector: its tests will say so and skip" >&2
    command -v kubectl >/dev/null || tests/deploy/tools.sh kustomize >/dev/null || true
    venv test tests/standin/requirements.txt tests/requirements-demo.txt tests/requirements.txt tests/deploy/requirements.txt ;;
  *) echo "usage: $0 demo|test" >&2; exit 2 ;;
esac
