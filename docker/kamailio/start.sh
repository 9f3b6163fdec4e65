#!/bin/sh
# Writes the RADIUS client's configuration from the environment and becomes Kamailio. README.md lists the variables.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
run=${OCS_RUN:-/run/kamailio}
mkdir -p "$run"

secret=${OCS_RADIUS_SECRET:-$(cat "${OCS_RADIUS_SECRET_FILE:-/run/secrets/radius_secret}")}
timeout_s=${OCS_RADIUS_TIMEOUT_S:-1}
retries=${OCS_RADIUS_RETRIES:-2}
export OCS_RADIUS_WAIT_S=$((timeout_s * (retries + 1)))
export OCS_RADIUS_CONFIG="$run/radiusclient.conf"
export OCS_NAS="${OCS_NAS:-kamailio}"
# The address that goes into Via and Record-Route: it must be one that phones and carriers reach.
export OCS_SIP_LISTEN="${OCS_SIP_LISTEN:-udp:$(hostname -i | cut -d" " -f1):5060}"

servers() { # host:port,host:port -> the same with the secret
  echo "$1" | tr ',' '\n' | sed "s|\$|:$secret|" | paste -sd, -
}
(
  umask 077
  cat > "$OCS_RADIUS_CONFIG" << CONF
nas-identifier  $OCS_NAS
authserver      $(servers "${OCS_RADIUS_AUTH:-127.0.0.1:1812}")
acctserver      $(servers "${OCS_RADIUS_ACCT:-127.0.0.1:1813}")
servers         $run/servers
dictionary      $here/dictionary
default_realm
radius_timeout  $timeout_s
radius_retries  $retries
radius_deadtime 0
bindaddr        ${OCS_RADIUS_SOURCE:-*}
CONF
  : > "$run/servers"
)

[ -z "${OCS_HTTP_TOKEN_FILE:-}" ] || OCS_HTTP_TOKEN=$(cat "$OCS_HTTP_TOKEN_FILE")
[ -z "${OCS_HTTP_TOKEN:-}" ] || export OCS_HTTP_TOKEN

set --
case ${OCS_AUTHORISE:-radius} in
  radius) ;;
  http) set -- "$@" -A WITH_HTTP ;;
  evapi) set -- "$@" -A WITH_EVAPI ;;
  *) echo "OCS_AUTHORISE: radius, http or evapi" >&2; exit 2 ;;
esac
[ -z "${OCS_HTTP:-}" ] || set -- "$@" -A WITH_EVENTS

exec kamailio -DD -E -f "$here/kamailio.cfg" -Y "$run" -P "$run/kamailio.pid" \
  -m "${OCS_SHARED_MB:-256}" -M "${OCS_PRIVATE_MB:-16}" "$@"
