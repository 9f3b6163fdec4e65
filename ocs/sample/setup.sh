#!/usr/bin/env bash
# Sample tariffs and accounts by the command line, for an empty database. Needs a running daemon, or OFFLINE=--offline.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
ocs() { command ocs "$@" ${OFFLINE:-} --json > /dev/null; }

for tariff in retail wholesale carrier; do
  ocs tariff import "$tariff" "$here/$tariff.csv"
done

ocs account create carrier --kind supplier --currency USD --tariff carrier --name "Carrier of all calls"
ocs account create acme --kind reseller --currency USD --tariff wholesale --credit-limit 50 --name "Acme Telecom"
for customer in acct-1001 acct-1002 acct-1003 acct-1005; do
  ocs account create "$customer" --currency USD --tariff retail
done
ocs account create acct-1004 --currency USD --tariff retail --parent acme

ocs account top-up acct-1001 10 --key sample-1001
ocs account top-up acct-1003 0.12 --key sample-1003
ocs account top-up acct-1004 5 --key sample-1004
ocs account top-up acct-1005 0.20 --key sample-1005
ocs account allowance acct-1001 --minutes 1 --name "welcome minute" --prefix 43 --key sample-bundle
