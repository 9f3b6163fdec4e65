#!/usr/bin/env bash
# Makes the secrets of compose.yaml, once. They stay in ./secrets, which git ignores.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p secrets
chmod 0711 secrets
for name in database_password event_socket_password api_token cdr_secret prepaid_key grafana_password; do
  [ -s "secrets/$name" ] && continue
  # 32 letters and digits; readable by the containers' own users, who see only this one file of the folder.
  (umask 0333 && head -c 256 /dev/urandom | LC_ALL=C tr -dc 'A-Za-z0-9' | cut -c 1-32 > "secrets/$name")
  echo "made secrets/$name"
done
