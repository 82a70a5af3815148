"""REDIS_URL at the trainer: what is read from it, and a wrong one in one line, without its password."""

import os
import subprocess
import sys

import pytest
from redis.sentinel import SentinelConnectionPool

from tests.fakes.trainer import ROOT
from trainer.redis_url import connect


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_sentinels_name_the_primary(scheme: str) -> None:
    url = f"{scheme}+sentinel://th:p%40ss@one:26380,two,[::1]:26381/my%2Dprimary/3?sentinel_password=s%26t&socket_timeout=2"
    pool = connect(url, socket_timeout=5).connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "my-primary"
    options = pool.connection_kwargs
    assert (options["username"], options["password"], options["db"]) == ("th", "p@ss", 3)
    assert options["socket_timeout"] == 2
    assert ("SSL" in pool.connection_class.__name__) is (scheme == "rediss")
    asked = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in asked] == [("one", 26380), ("two", 26379), ("::1", 26381)]
    assert {one["password"] for one in asked} == {"s&t"}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("rdis://host:6379/0", "is not the URL of a Redis"),
        ("redis://host:6379/0?sokcet_timeout=3", "has an option that cannot be used: sokcet_timeout"),
        ("redis://host:6379/0?socket_timeout=secret", "has an option that cannot be used: socket_timeout"),
        ("redis://:pa/secret@host:6379/0", "is not the URL of a Redis"),
        ("redis+sentinel://host:26379", "is not the URL of a Redis"),
        ("redis+sentinel://host:26379/", "is not the URL of a Redis"),
        ("redis+sentinel:///primary/0", "is not the URL of a Redis"),
        ("redis+sentinel://u:secret@host:port/primary/0", "is not the URL of a Redis"),
        ("rediss+sentinel://host/primary/0?foo=secret", "has an option that cannot be used: foo"),
        ("unix:///run/redis.sock?socket_keepalive=1", "has an option that cannot be used: socket_keepalive"),
    ],
)
def test_a_wrong_one_is_said_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        connect(url)
    assert "secret" not in str(caught.value)


@pytest.mark.processes
@pytest.mark.parametrize("program", ["trainer", "trainer.worker"])
def test_a_program_ends_with_one_line(program: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", program], cwd=ROOT, env={**os.environ, "REDIS_URL": "rdis://x"}, capture_output=True
    )
    assert ran.returncode == 1
    [line] = ran.stderr.decode().splitlines()
    assert line.startswith("trainer: REDIS_URL is not the URL of a Redis. It must begin with redis://")
