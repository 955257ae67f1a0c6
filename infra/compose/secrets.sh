#!/bin/sh
# Makes the secrets of a deployment, once: a file for each, in the folder `secrets` beside this script or the one named.
# What is there stays as it is. Keep the folder, apart from the database's back-ups: without the master keys no vault opens.
#
#     infra/compose/secrets.sh [folder]
#
# The folder is its owner's alone. The files in it can be read by whoever may pass through the folder, because Compose
# shows each of them to one container, where it belongs to somebody else than the user that the service runs as.
set -eu

folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
chmod 700 "$folder"

random() { head -c 32 /dev/urandom | base64 | tr -d '\n'; }

make() { # name, text
    file=$folder/$1
    if [ ! -s "$file" ]; then
        printf '%s\n' "$2" >"$file.new"
        chmod 444 "$file.new"
        mv "$file.new" "$file"
    fi
}

password() { make "$1" "$(random | tr '+/' '-_' | tr -d '=')"; }

for service in registry identity token_issuer resource ledger; do
    password "$service.database"
    password "$service.nats"
done
for name in postgres.superuser resource_server.nats route.nats deploy; do
    password "$name"
done
# The resource service has no key, as it keeps no secret.
for service in registry identity token_issuer ledger console; do
    make "$service.master" "$(random)"
done
