#!/bin/sh
# Starts Valkey with valkey.conf and the password in DATAGEN_REDIS_PASSWORD; arguments are directives added to the
# configuration: start-valkey.sh 'bind *'. The configuration goes in on stdin, so no list of processes shows the digest.
set -eu
: "${DATAGEN_REDIS_PASSWORD:?set it to a password, e.g. from: openssl rand -hex 20}"
digest=$(printf %s "$DATAGEN_REDIS_PASSWORD" | sha256sum | cut -d ' ' -f 1)
unset DATAGEN_REDIS_PASSWORD
configuration=$(sed "s/on #PASSWORD_SHA256/on #$digest/" "${VALKEY_CONF:-/etc/valkey/valkey.conf}" && printf '%s\n' "$@")
# in place of this shell, so that the server itself gets the signal to stop
exec "${VALKEY_SERVER:-valkey-server}" - <<END
$configuration
END
