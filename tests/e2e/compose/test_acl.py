"""What compose gives Redis, tried on a real server: enough for RQ and our records, and no more."""

import operator
import signal
from collections.abc import Iterator

import pytest
import redis
from rq import Queue, SimpleWorker, Worker
from rq.serializers import JSONSerializer

from tests.fakes.compose_user import DEPLOYED, PASSWORD, acl_file, as_compose_user, sha256
from tests.fakes.valkey import Valkey, valkey_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    directory = tmp_path_factory.mktemp("acl")
    asks = f"user operator on #{sha256(PASSWORD)} +acl|dryrun"
    with valkey_server(directory, *acl_file(directory, asks)) as server:
        yield server


@pytest.fixture
def ours(server: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(as_compose_user(server.url)) as client:
        yield client


@pytest.fixture
def signals() -> Iterator[None]:
    """RQ's worker takes SIGINT and SIGTERM for itself and never gives them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("kind", [Worker, SimpleWorker])
def test_rq_runs_what_was_queued_together_with_a_record(ours: redis.Redis, kind: type[Worker]) -> None:
    queue = Queue("steps", connection=ours, serializer=JSONSerializer)
    with ours.pipeline() as pipeline:
        pipeline.multi()
        pipeline.hset("th:record", "revision", 1)
        step = queue.enqueue(operator.add, 2, 3, pipeline=pipeline)
        pipeline.execute()
    worker = kind([queue], connection=ours, serializer=JSONSerializer)
    worker.work(max_jobs=1, logging_level="CRITICAL")  # not `burst`, so that it blocks on the queue as ours do
    assert step.return_value() == 5
    assert ours.hget("th:record", "revision") == b"1"


def test_what_the_store_needs(ours: redis.Redis) -> None:
    script = "redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1]) return redis.call('ZCARD', KEYS[1])"
    assert ours.eval(script, 1, "th:due", "job") == 1
    assert ours.config_get("appendfsync") == {"appendfsync": "always"}
    assert ours.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert ours.info("persistence")["aof_enabled"] == 1
    assert ours.info("replication")["master_replid"]
    assert ours.waitaof(0, 0, 1) == [1, 0]
    with ours.pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe("th:events")
        assert subscription.get_message(timeout=5) is not None
    ours.publish("th:events", "news")


@pytest.mark.parametrize(
    "command",
    [
        "SET elsewhere 1",
        "GET elsewhere",
        "PUBLISH elsewhere 1",
        "FLUSHALL",
        "FLUSHDB",
        "KEYS *",
        "CONFIG SET appendonly no",
        "SHUTDOWN",
        "ACL LIST",
        "MODULE LIST",
        "REPLICAOF localhost 1",
        "MONITOR",
        "SAVE",
        "CLIENT LIST",
    ],
)
def test_everything_else_is_refused(ours: redis.Redis, command: str) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        ours.execute_command(*command.split())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("command", ["EXEC", "HSET th:job:1 doc {}", "ZADD th:due:steps 1 job:1", "SET any 1"])
def test_the_append_only_file_can_be_replayed(server: Valkey, command: str) -> None:
    """It is replayed as the user `default`, and Redis (Valkey until 9.1) drops transactions that one may not run."""
    with redis.Redis.from_url(server.url, username="operator", password=PASSWORD) as operator_:
        assert operator_.execute_command("ACL", "DRYRUN", "default", *command.split()) == b"OK"


@pytest.mark.parametrize("credentials", [{}, {"password": ""}, {"username": "default", "password": PASSWORD}])
def test_without_the_password_nobody_gets_in(server: Valkey, credentials: dict[str, str]) -> None:
    with (
        redis.Redis.from_url(server.url, **credentials) as client,
        pytest.raises(redis.RedisError, match=r"(?i)auth|user is disabled"),
    ):
        client.get("th:record")


def test_the_configuration_is_durable_and_never_evicts() -> None:
    lines = {
        line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1]
        for line in (DEPLOYED / "redis.conf").read_text().splitlines()
        if line and not line.startswith("#")
    }
    assert lines["appendonly"] == "yes"
    assert lines["appendfsync"] == "always"
    assert lines["maxmemory-policy"] == "noeviction"
