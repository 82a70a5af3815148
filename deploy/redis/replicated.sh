# Part of start.sh, for a server among replicas and Sentinels. Its role is the Sentinels' to say, at each start anew.
# A server whose disk was lost must not come back as the primary: its replicas would copy its emptiness.

me=$(uname -n)

ask() {  # SENTINEL WORD: what `SENTINEL WORD tunehook` answers there, or nothing
  REDISCLI_AUTH=$REDIS_SENTINEL_PASSWORD timeout 2 \
    redis-cli -h "$1" -p 26379 --user sentinel sentinel "$2" tunehook 2>/dev/null || true
}

ask_all() { for sentinel in sentinel-1 sentinel-2 sentinel-3; do ask "$sentinel" "$1"; done; }

named() {  # the primary, once two Sentinels name the same
  for sentinel in sentinel-1 sentinel-2 sentinel-3; do
    ask "$sentinel" get-master-addr-by-name | head -n 1
  done | grep -x 'redis[-0-9]*' | sort | uniq -d
}

is_whole() { [ -d /data/appendonlydir ] && [ ! -e /data/.copying ]; }

# Sentinels that know replicas have seen a primary before, so this is no first start.
has_lost_its_disk() { ! is_whole && ask_all replicas | grep -qx name; }

said=
while :; do
  primary=$(named)
  if [ -z "$primary" ]; then
    why="Waiting until two Sentinels name the same primary."
  elif [ "$primary" = "$me" ] && has_lost_its_disk; then
    why="This disk is empty, and the Sentinels name this server as the primary: waiting until they promote a replica."
  else
    break
  fi
  [ "$why" = "$said" ] || echo "$why"
  said=$why
  sleep 1
done

chance=$(head -c 32 /dev/urandom | sha256sum | cut -d' ' -f1)
sed "s/SENTINEL_SHA256/$(sha256 "$REDIS_SENTINEL_PASSWORD")/; s/START_SHA256/$(sha256 "$chance")/" \
  /etc/tunehook/replicated.acl >> /run/redis/users.acl
cat > /run/redis/redis.conf <<END
include /etc/tunehook/redis.conf
replica-announce-ip $me
masteruser replica
masterauth $REDIS_SENTINEL_PASSWORD
repl-diskless-sync-delay 1
END
if [ "$primary" = "$me" ]; then
  echo "This server is the primary."
  rm -f /data/.copying
else
  echo "This server is a replica of $primary."
  echo "replicaof $primary 6379" >> /run/redis/redis.conf
  if ! is_whole; then
    # A Sentinel would promote an empty replica if it knew no other.
    : > /data/.copying
    echo "replica-priority 0" >> /run/redis/redis.conf
    # Twice in brackets: redis-server shall not have a child that it did not start.
    ( (
      call() { REDISCLI_AUTH=$chance redis-cli --user start "$@" 2>/dev/null; }
      until call info replication | grep -q '^master_link_status:up'; do sleep 1; done
      rm -f /data/.copying
      call config set replica-priority 100 >/dev/null
    ) & )
  fi
fi
