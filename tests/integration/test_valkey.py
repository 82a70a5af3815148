"""The neighbour itself: what other tests rely on it for."""

from pathlib import Path

import pytest
import redis

from cli.valkey_process import connect
from tests.fakes.valkey import Valkey, valkey_server


def test_a_killed_server_stays_dead_until_restarted_and_then_knows_everything(tmp_path: Path) -> None:
    with valkey_server(tmp_path / "valkey") as server, connect(server.url) as client:
        client.set("key", "value")
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.restart()
        assert client.get("key") == b"value"


def test_options_win_and_tcp_is_there_when_asked_for(tmp_path: Path) -> None:
    with valkey_server(tmp_path / "valkey", "--appendfsync", "everysec", port=0) as server:
        assert server.tcp_url is not None
        with connect(server.tcp_url) as client:
            assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
            server.restart()
            assert client.ping()


@pytest.mark.parametrize("round_", [1, 2])
def test_the_sessions_server_is_empty_for_each_test(valkey: Valkey, round_: int) -> None:
    with connect(valkey.url) as client:
        assert client.dbsize() == 0
        assert client.set("th:left behind by", round_)
