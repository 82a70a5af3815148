"""Spans: off without an endpoint, and no step waits for a collector."""

import json
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from aiohttp import web

from tests.fakes.collector import Collector, running_collector
from tests.fakes.patience import eventually
from tests.fakes.serving import serving
from tunehook import logs, telemetry
from tunehook.settings import Settings
from tunehook.upstreams.answers import BoundedClient

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = PARENT[:-1] + "0"
#: A worker forks while it has one thread; here the collector is another.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
#: A program in which no module of OpenTelemetry can be imported.
PROGRAM = """
import sys
sys.modules["opentelemetry"] = None
import service.__main__, service.app, worker.supervisor, worker.steps
from tunehook import telemetry
from tunehook.settings import Settings, SettingsError
off = Settings.model_validate({})
telemetry.start_exporting(off)
assert telemetry.start_handing_over(off) is None
with telemetry.span("accept", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
    telemetry.describe(project="p")
    assert (telemetry.current(), telemetry.headers()) == (None, {})
telemetry.stop()
assert not [name for name in sys.modules if name.startswith("opentelemetry.")]
try:
    telemetry.start_exporting(Settings.model_validate({"otel_endpoint": "http://127.0.0.1:9"}))
except SettingsError as error:
    print(error.message)
"""


def test_without_an_endpoint_nothing_of_it_is_imported_and_with_one_its_absence_is_refused() -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment)
    assert done.stderr == ""
    assert done.stdout.startswith("OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: pip install")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with running_collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running


@pytest.fixture
def exported(collector: Collector) -> Iterator[Collector]:
    """Tracing in this process; `telemetry.stop()` sends what there is."""
    telemetry.start_exporting(Settings())
    yield collector
    telemetry.stop()


def test_a_first_try_is_a_child_and_a_later_one_links(exported: Collector) -> None:
    with telemetry.span("accept", PARENT):
        job = telemetry.current()
    with telemetry.span("upload", job), pytest.raises(KeyError), telemetry.span("inner"):
        raise KeyError("words that stay here")
    with telemetry.span("upload", job, first=False, links=[PARENT, None, "nonsense"]):
        telemetry.describe(attempt=2, nothing=None)
    with telemetry.span("poll"):
        telemetry.link(job)
        with telemetry.span("settle", job):
            pass
    with telemetry.span("accept", NOT_SAMPLED):
        unseen = telemetry.current()
    with telemetry.span("create", unseen, first=False):
        pass
    with telemetry.span("accept", "nonsense"):
        pass
    telemetry.stop()
    accept, first, later, settle, poll, anew = [span for span in exported.spans if span.name != "inner"]
    trace = PARENT.split("-")[1]
    assert (accept.trace, accept.parent) == (trace, PARENT.split("-")[2])
    assert (first.trace, first.parent, first.links) == (trace, accept.id, [])
    assert (later.parent, later.links, later.attributes) == ("", [trace, trace], {"tunehook.attempt": "2"})
    assert later.trace != trace
    assert (settle.trace, settle.links) == (trace, [poll.trace])
    assert poll.links == [trace]
    assert (anew.name, anew.parent) == ("accept", "")
    [inner] = [span for span in exported.spans if span.name == "inner"]
    assert (inner.failed, inner.attributes, inner.parent) == (True, {"error.type": "KeyError"}, first.id)
    assert not [body for body in exported.bodies if b"words that stay" in body]


async def test_an_upstream_is_told_of_the_span_that_asks_it(exported: Collector) -> None:
    seen: list[str | None] = []

    async def _take(request: web.Request) -> web.Response:
        seen.append(request.headers.get("traceparent"))
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/", _take)
    async with serving(app) as root, BoundedClient("openai") as client:
        await client.get(root)
        with telemetry.span("create", PARENT):
            of_span = telemetry.current()
            await client.get(root)
    assert seen == [None, of_span]
    assert of_span
    assert of_span.startswith(PARENT[:36])


def test_a_line_of_the_log_has_the_trace_it_belongs_to(
    collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        logs.configure("json")
        telemetry.start_exporting(Settings())
        with telemetry.span("accept", PARENT):
            logging.getLogger("tunehook.test").warning("inside", extra={"fields": {"job": "ftjob-1"}})
        logging.getLogger("tunehook.test").warning("outside")
        telemetry.stop()
    finally:
        root.handlers = before
    inside, outside = map(json.loads, capsys.readouterr().err.splitlines()[:2])
    assert (inside["trace_id"], inside["job"]) == (PARENT.split("-")[1], "ftjob-1")
    assert "trace_id" not in outside


async def test_spans_of_a_process_that_ends_at_once_are_sent_by_another(collector: Collector) -> None:
    collect = telemetry.start_handing_over(Settings())
    assert collect
    fork = multiprocessing.get_context("fork")
    sender = fork.Process(target=collect)
    sender.start()
    try:
        step = fork.Process(target=_one_step)
        step.start()
        step.join()

        async def stopped() -> list[str]:
            return [span.name for span in collector.spans]

        sender.terminate()  # sends what it was handed before it ends
        assert await eventually(stopped, bool) == ["create"]
        sender.join()
        assert (step.exitcode, sender.exitcode) == (0, 0)
        assert collector.spans[0].service == "tunehook-worker"
    finally:
        sender.kill()
        telemetry.stop()


def _one_step() -> None:
    with telemetry.span("create", PARENT):
        telemetry.describe(upstream="openai")
    os._exit(0)


def test_a_step_waits_for_no_collector_and_a_stopped_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing reads the spans here, then a process whose collector accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        collect = telemetry.start_handing_over(Settings())
        assert collect
        for _ in range(2000):  # a socket that blocked would hold this test for ever
            with telemetry.span("create", PARENT):
                pass
        sender = multiprocessing.get_context("fork").Process(target=collect)
        sender.start()
        silent.settimeout(200)
        begun, _ = silent.accept()  # it tries to send
        with begun:
            sender.terminate()
            sender.join(200)
            assert sender.exitcode == 0
        telemetry.stop()
