#!/bin/sh
# Writes the ACL with the password's hash into a tmpfs, then becomes redis-server.
set -eu
: "${REDIS_PASSWORD:?REDIS_PASSWORD is not set}"
hash=$(printf %s "$REDIS_PASSWORD" | sha256sum | cut -d' ' -f1)
umask 077
sed "s/PASSWORD_SHA256/$hash/" /etc/tunehook/users.acl > /run/redis/users.acl
unset REDIS_PASSWORD
exec redis-server /etc/tunehook/redis.conf --maxmemory "${REDIS_MAXMEMORY:-512mb}" "$@"
