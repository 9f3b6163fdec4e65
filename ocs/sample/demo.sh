#!/usr/bin/env bash
# `make run`: a database, a daemon, sample accounts, and a scripted switch that places calls over a real Event Socket.
# Everything lives under var/demo and starts anew each time. Ctrl-C ends all of it.
set -euo pipefail
cd "$(dirname "$0")/../.."
export OCS_CONFIG=ocs/sample/demo.toml
work=var/demo

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
children=()
stop() {
  trap - EXIT INT TERM
  [ "${#children[@]}" -eq 0 ] || kill "${children[@]}" 2> /dev/null || true
  wait
}
trap 'stop; exit 0' INT
trap 'stop; exit 0' TERM
trap stop EXIT

if [ -S "$work/ocs.sock" ] && ocs switch list > /dev/null 2>&1; then
  echo "a demo is running already; its settings: OCS_CONFIG=$OCS_CONFIG" >&2
  exit 1
fi
rm -rf "$work"
mkdir -p "$work"

say "The database and the daemon (its switch comes later)"
ocs db upgrade
ocs serve &
daemon=$!
children+=("$daemon")
for _ in $(seq 100); do
  ocs account list > /dev/null 2>&1 && break
  kill -0 "$daemon" 2> /dev/null || { echo "the daemon did not start" >&2; exit 1; }
  sleep 0.1
done

say "Tariffs and accounts"
ocs/sample/setup.sh
ocs account list

say "What would a call cost, and why?"
ocs rate acct-1003 4915112345678

say "A minute of calls: lines with a time are the switch's, the others the daemon's"
python -m switch_adapters.scripted --listen 127.0.0.1:18021 --password ClueCon > "$work/switch.log" 2>&1 &
children+=("$!")
tail -n +1 -F "$work/switch.log" 2> /dev/null &
children+=("$!")

over() { grep -q "the script is over" "$work/switch.log"; }
for second in $(seq 90); do
  sleep 1
  over && break
  case "$second" in
    10) say "ocs call list"; ocs call list ;;
    26) say "ocs account top-up acct-1005 0.10  (a call that runs out of credit goes on)"
        ocs account top-up acct-1005 0.10 --json > /dev/null ;;
  esac
done
over || { echo "the calls did not end in time; see $work/switch.log" >&2; exit 1; }

say "ocs cdr list"
ocs cdr list
say "ocs account list"
ocs account list
say "ocs check"
ocs check

say "The daemon and the switch stay up until Ctrl-C. In another terminal:"
echo "  . .venv/bin/activate; export OCS_CONFIG=$OCS_CONFIG"
echo "  ocs --help; ocs cdr export; ocs account show acct-1001   metrics: http://127.0.0.1:19464/metrics"
wait "$daemon"
