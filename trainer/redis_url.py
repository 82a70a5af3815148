"""REDIS_URL: the server that keeps the turns, or Sentinels (redis+sentinel://host:26379,host:26379/primary/0)."""

import re
import sys
import time
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis import Redis, RedisError
from redis.connection import parse_url
from redis.sentinel import Sentinel

#: redis-py's words for an option that it does not know, or cannot read.
_OPTION = re.compile("(?:argument|value for) '([a-z_]{1,30})'")
_ASK_SECONDS = 1.0


def connect(url: str, **options: Any) -> Redis:
    """Returns a client, which is not connected yet. Raises ValueError for a URL that is none; it quotes no password."""
    options["driver_info"] = None  # redis-py would look for its version on the disk, for each connection
    try:
        redis = _primary(url, options) if "+sentinel://" in url else Redis.from_url(url, **options)
        redis.connection_pool.make_connection()  # what its options are for; nothing is sent
    except (TypeError, ValueError, RedisError) as error:
        option = _OPTION.search(str(error))
        what = f"has an option that cannot be used: {option[1]}" if option else "is not the URL of a Redis"
        raise ValueError(
            f"REDIS_URL {what}. It must begin with redis://, rediss:// or unix://, or be "
            "redis+sentinel://host:26379,host:26379/primary/0 (rediss+sentinel:// with TLS)."
        ) from None
    return redis


def reason(error: Exception) -> str:
    """Returns an error's words, without the objects that redis-py lists where no Sentinel knows the primary."""
    return str(error).partition(" : <")[0]


def answering(url: str) -> Redis:
    """Returns a client of a Redis that answers: waits for one, and says once why it does not."""
    try:
        redis = connect(url)
    except ValueError as error:
        raise SystemExit(f"trainer: {error}") from None
    told = ""
    while True:
        try:
            redis.ping()
            return redis
        except RedisError as error:
            if told != reason(error):
                told = reason(error)
                sys.stderr.write(f"trainer: no job is trained until Redis answers: {told}\n")
        time.sleep(_ASK_SECONDS)


def _primary(url: str, options: dict[str, Any]) -> Redis:
    """Returns a client that asks the Sentinels for the primary whenever it connects."""
    given = urlsplit(url)
    user, at, hosts = given.netloc.rpartition("@")
    _, name, *database = given.path.split("/")
    asked = dict(parse_qsl(given.query))
    own = {part: asked.pop(f"sentinel_{part}") for part in ("username", "password") if f"sentinel_{part}" in asked}
    plain = f"{given.scheme.removesuffix('+sentinel')}://{user}{at}/{'/'.join(database) or 0}?{urlencode(asked)}"
    found = parse_url(plain)  # type: ignore[no-untyped-call]
    tls = found.pop("connection_class", None) is not None
    own |= {part: value for part, value in found.items() if part.startswith("ssl_")}
    parts = [urlsplit(f"//{host}") for host in hosts.split(",")]
    if not name or not all(part.hostname for part in parts):
        raise ValueError("it names no Sentinel, or no primary")
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [(part.hostname, part.port or 26379) for part in parts],
        sentinel_kwargs={**own, "ssl": tls, "socket_timeout": _ASK_SECONDS, "socket_connect_timeout": _ASK_SECONDS},
    )
    primary: Redis = sentinels.master_for(unquote(name), **{**options, **found}, ssl=tls)  # type: ignore[no-untyped-call]
    return primary
