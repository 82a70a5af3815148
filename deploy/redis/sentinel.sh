#!/bin/sh
# Becomes a Sentinel. Which server is the primary, and which others there are, stays on its volume.
set -eu
: "${REDIS_PASSWORD:?REDIS_PASSWORD is not set}"
: "${REDIS_SENTINEL_PASSWORD:?REDIS_SENTINEL_PASSWORD is not set}"
sha256() { printf %s "$1" | sha256sum | cut -d' ' -f1; }
umask 077
sed "s/PASSWORD_SHA256/$(sha256 "$REDIS_PASSWORD")/; s/SENTINEL_SHA256/$(sha256 "$REDIS_SENTINEL_PASSWORD")/" \
  /etc/tunehook/sentinel.acl > /run/redis/users.acl

learned='^sentinel (myid|current-epoch|monitor|config-epoch|leader-epoch|known-replica|known-sentinel) '
state=$(grep -E "$learned" /data/sentinel.conf 2>/dev/null || echo "sentinel monitor tunehook redis 6379 2")
cat > /data/sentinel.new <<END
port 26379
dir /data
aclfile /run/redis/users.acl
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $(uname -n)
$state
sentinel auth-user tunehook sentinel
sentinel auth-pass tunehook $REDIS_SENTINEL_PASSWORD
sentinel sentinel-user sentinel
sentinel sentinel-pass $REDIS_SENTINEL_PASSWORD
sentinel down-after-milliseconds tunehook 5000
sentinel failover-timeout tunehook 20000
END
mv /data/sentinel.new /data/sentinel.conf
unset REDIS_PASSWORD REDIS_SENTINEL_PASSWORD
exec redis-server /data/sentinel.conf --sentinel
