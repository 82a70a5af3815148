"""URLs with Sentinels: what is read from them, for both kinds of redis-py's clients."""

import pytest

from tunehook.store.engine.addresses import SentinelPool, open_blocking, open_pool, parse

URL = "redis+sentinel://th:p%40ss@one:26380,two,[::1]:26381/my-primary/3?sentinel_password=s%26t"


def test_a_url_names_sentinels_a_primary_and_both_passwords() -> None:
    found = parse(URL)
    assert found.addresses == [("one", 26380), ("two", 26379), ("::1", 26381)]
    assert (found.name, found.tls) == ("my-primary", False)
    assert found.options == {"username": "th", "password": "p@ss", "db": 3}
    assert found.own == {"password": "s&t"}


def test_the_shortest_url_has_defaults() -> None:
    found = parse("redis+sentinel://one/p")
    assert (found.addresses, found.name, found.options, found.own) == ([("one", 26379)], "p", {"db": 0}, {})


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_both_clients_are_made_of_it(scheme: str) -> None:
    url = URL.replace("redis+", f"{scheme}+") + "&ssl_ca_certs=/ca.pem" * (scheme == "rediss")
    pool = open_pool(url, connections=2, timeout=1.0)
    assert isinstance(pool, SentinelPool)
    blocking = open_blocking(url).connection_pool
    for kind in (pool.connection_class, blocking.connection_class):
        assert ("SSL" in kind.__name__) is (scheme == "rediss")
    for options in (pool.connection_kwargs, blocking.connection_kwargs):
        assert (options["username"], options["password"], options["db"]) == ("th", "p@ss", 3)
        assert ("ssl_ca_certs" in options) is (scheme == "rediss")
    assert [sentinel.connection_pool.connection_kwargs["password"] for sentinel in pool.sentinel_manager.sentinels] == [
        "s&t"
    ] * 3
