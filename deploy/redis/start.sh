#!/bin/sh
# Writes the ACL with the passwords' hashes into a tmpfs, then becomes redis-server. With REDIS_SENTINEL_PASSWORD, the
# Sentinels say which server is the primary: this one, or the one that it is a replica of.
set -eu
: "${REDIS_PASSWORD:?REDIS_PASSWORD is not set}"
sha256() { printf %s "$1" | sha256sum | cut -d' ' -f1; }
umask 077
config=/etc/tunehook/redis.conf
sed "s/PASSWORD_SHA256/$(sha256 "$REDIS_PASSWORD")/" /etc/tunehook/users.acl > /run/redis/users.acl
if [ -n "${REDIS_SENTINEL_PASSWORD:-}" ]; then
  . /etc/tunehook/replicated.sh
  config=/run/redis/redis.conf
fi
unset REDIS_PASSWORD REDIS_SENTINEL_PASSWORD
exec redis-server "$config" --maxmemory "${REDIS_MAXMEMORY:-512mb}" "$@"
