#!/bin/sh
# Runs a container-local copy of Dify's squid entrypoint (as Dify's own compose file does) with one line more: our log
# format is appended to the squid.conf that Dify's script writes. Before Dify 1.16 that file included conf.d, since then
# it does not. Where the script has no such place, it runs as it is.
set -e
from=${DIFY_OTEL_SQUID_ENTRYPOINT:-/docker-entrypoint-mount.sh}
to=${DIFY_OTEL_SQUID_COPY:-/docker-entrypoint.sh}
conf=/opt/dify-otel/squid-trace-log.conf
sed -e 's/\r$//' -e "s#^/usr/sbin/squid -Nz#cat $conf >> /etc/squid/squid.conf\n&#" "$from" > "$to"
grep -q "$conf" "$to" || echo "dify-otel: squid's access log stays as it is: no place for the log format found" >&2
chmod +x "$to"
exec "$to"
