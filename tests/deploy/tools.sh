#!/usr/bin/env bash
# Gets the real tools the deploy tests run, into a cache, and prints the path of the binary. Idempotent.
#   tools.sh compose     Compose 2.26: from Debian's trixie (bookworm's own is 1.29 and cannot read Dify's files)
#   tools.sh nginx       Debian's nginx, unpacked, not installed
#   tools.sh collector   OpenTelemetry collector with the parts deploy/collector uses, built from Go modules (minutes)
#   tools.sh kustomize   from Go modules
# --cached: print the path if it is there already, else end with 1 and build nothing.
set -euo pipefail
cache=${DIFY_OTEL_CACHE:-$HOME/.cache/dify-otel}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cached=
[ "${1:-}" != --cached ] || { cached=yes; shift; }
tool=${1:?which tool}
mkdir -p "$cache"

have() { [ -x "$1" ] && { echo "$1"; exit 0; }; [ -z "$cached" ] || exit 1; }
need_go() {
    export PATH="$PATH:/usr/local/go/bin"
    command -v go >/dev/null || { echo "tools.sh: no Go toolchain for $tool" >&2; exit 3; }
}

# A package of another Debian suite, from the machine's own mirror, in apt directories of its own: nothing is installed.
debian_package() { # suite package directory
    local suite=$1 package=$2 to=$3 apt site
    command -v apt-get >/dev/null || { echo "tools.sh: $tool comes from Debian packages; no apt-get here" >&2; exit 3; }
    site=$(apt-get indextargets --format '$(SITE)' | grep -E '/debian/?$' | head -1)
    [ -n "$site" ] || { echo "tools.sh: no Debian mirror configured" >&2; exit 3; }
    mkdir -p "$cache/apt-$suite/lists/partial" "$cache/apt-$suite/cache/archives/partial" "$to"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site $suite main" > "$cache/apt-$suite/sources.list"
    apt=(apt-get -qq -o "Dir::Etc::sourcelist=$cache/apt-$suite/sources.list" -o Dir::Etc::sourceparts=-
         -o "Dir::State::lists=$cache/apt-$suite/lists" -o "Dir::Cache=$cache/apt-$suite/cache" -o APT::Sandbox::User=root
         -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
    "${apt[@]}" update >&2
    (cd "$cache/apt-$suite" && rm -f ./*.deb && "${apt[@]}" download "$package" >&2 && dpkg-deb -x ./"$package"_*.deb "$to")
}

case $tool in
    compose)
        binary=$cache/compose/usr/libexec/docker/cli-plugins/docker-compose
        have "$binary"
        debian_package trixie docker-compose "$cache/compose"
        ;;
    nginx)
        # Installed already: take that one, with its modules and mime types where it expects them.
        if [ -x /usr/sbin/nginx ]; then echo /usr/sbin/nginx; exit 0; fi
        [ -z "$cached" ] || exit 1
        binary=$cache/nginx/usr/sbin/nginx
        have "$binary"
        # shellcheck disable=SC1091
        debian_package "$(. /etc/os-release && echo "$VERSION_CODENAME")" nginx "$cache/nginx"
        ;;
    collector)
        manifest=$here/collector-builder.yaml
        binary=$cache/collector-$(sha256sum < "$manifest" | cut -c1-12)/otelcol
        have "$binary"
        need_go
        version=$(sed -n 's/^  version: *//p' "$manifest")
        work=$cache/collector-build
        mkdir -p "$work" "$(dirname "$binary")"
        GOBIN=$work go install "go.opentelemetry.io/collector/cmd/builder@v$version" >&2
        (cd "$work" && nice ./builder --config "$manifest" >&2)
        mv "$work/build/otelcol" "$binary"
        ;;
    kustomize)
        binary=$cache/kustomize-5.7.0/kustomize
        have "$binary"
        need_go
        GOBIN=$(dirname "$binary") go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.0 >&2
        ;;
    *) echo "tools.sh: unknown tool $tool" >&2; exit 2 ;;
esac
[ -x "$binary" ] || { echo "tools.sh: $tool did not come out at $binary" >&2; exit 1; }
echo "$binary"
