#!/bin/sh
# Writes the Diameter configuration from the environment and becomes Kamailio. README.md lists the variables.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
run=${OCS_RUN:-/run/kamailio}
mkdir -p "$run"

export OCS_DIAMETER_CONFIG="$run/diametercfg.xml"
export OCS_DIAMETER_HOST="${OCS_DIAMETER_HOST:-$(hostname -f)}"
export OCS_DIAMETER_REALM="${OCS_DIAMETER_REALM:-${OCS_DIAMETER_HOST#*.}}"
export OCS_CHARGING_REALM="${OCS_CHARGING_REALM:-$OCS_DIAMETER_REALM}"
# The address that goes into Via and Record-Route: it must be one that phones and carriers reach.
export OCS_SIP_LISTEN="${OCS_SIP_LISTEN:-udp:$(hostname -i | cut -d" " -f1):5060}"

# host:port,host:port -> elements; the first has the smallest metric and is asked as long as it is there.
peers="" routes="" metric=1
for peer in $(echo "${OCS_DIAMETER_PEERS:-127.0.0.1:3868}" | tr ',' ' '); do
  host=${peer%:*} port=${peer##*:}
  peers="$peers<Peer FQDN=\"$host\" Realm=\"$OCS_CHARGING_REALM\" port=\"$port\"/>"
  routes="$routes<Route FQDN=\"$host\" metric=\"$metric\"/>"
  metric=$((metric + 1))
done
sed -e "s|@HOST@|$OCS_DIAMETER_HOST|" -e "s|@REALM@|$OCS_DIAMETER_REALM|" \
  -e "s|@CHARGING_REALM@|$OCS_CHARGING_REALM|" -e "s|@TC@|${OCS_WATCHDOG_S:-6}|" \
  -e "s|@PEERS@|$peers|" -e "s|@ROUTES@|$routes|" "$here/diametercfg.xml" > "$OCS_DIAMETER_CONFIG"

set --
case ${OCS_USERS:-text:} in text:*) ;; *) set -- -A WITHOUT_DB_TEXT ;; esac

exec kamailio -DD -E -f "$here/kamailio.cfg" -Y "$run" -P "$run/kamailio.pid" \
  -m "${OCS_SHARED_MB:-256}" -M "${OCS_PRIVATE_MB:-16}" "$@"
