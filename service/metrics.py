"""/metrics, for Prometheus. Counters are kept in Redis; only the durations of requests are this process' own."""

from __future__ import annotations

import asyncio
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.requests import context_of
from tunehook.model.deployment import Deployment
from tunehook.model.job import Stage
from tunehook.model.record import RECORD_VERSION
from tunehook.store.metrics import Metrics
from tunehook.store.tally import COUNTERS, HISTOGRAMS, Buckets, Durations, HistogramFamily, Labels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_SECONDS = HistogramFamily(
    "tunehook_request_duration_seconds",
    "Requests to this process, but for event streams and requests with `wait`.",
    ("method", "route", "status"),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
REQUESTS: web.AppKey[Durations] = web.AppKey("requests", Durations)


@dataclass(frozen=True)
class Room:
    """Bytes of Redis' memory (used, limit; 0: not known, none) and of the data directory's disk (free, all)."""

    memory: tuple[int, int] = (0, 0)
    disk: tuple[int, int] | None = None


_UNKNOWN = Room()


async def read(request: web.Request) -> web.Response:
    ctx = context_of(request)
    await ctx.count_answers()
    figures, deployments, memory, disk = await asyncio.gather(
        ctx.store.metrics.read(ctx.upstreams),
        ctx.store.deployments.live(),
        ctx.store.redis_health.memory(),
        ctx.files.storage.space(),
    )
    durations, room = request.app[REQUESTS].copy(), Room(memory, disk)
    # In a thread: the process' own figures are read from /proc.
    text = await asyncio.to_thread(exposition, figures, deployments, durations, room)
    return web.Response(body=text, headers={"content-type": CONTENT_TYPE})


def requests() -> Durations:
    """Returns the durations of a process' requests, none yet."""
    return Durations(REQUEST_SECONDS)


def note_request(request: web.Request, response: web.StreamResponse | None, seconds: float) -> None:
    """Notes how long a request took. `response`: None if the connection ended before."""
    if "wait" in request.query or (response is not None and response.content_type == "text/event-stream"):
        return
    resource = request.match_info.route.resource
    # A path or method that does not exist could be any text, so it makes no series of its own.
    method, route = (request.method, resource.canonical) if resource else ("other", "other")
    status = f"{response.status // 100}xx" if response is not None else "broken off"
    request.app[REQUESTS].observe((method, route, status), seconds)


def exposition(
    figures: Metrics,
    deployments: Sequence[Deployment] = (),
    durations: Durations | None = None,
    room: Room = _UNKNOWN,
) -> bytes:
    """Returns the text that Prometheus reads."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Told(figures, deployments, durations or requests(), room))
    return generate_latest(registry)


class _Told(Collector):
    """All families, of the figures given."""

    def __init__(self, figures: Metrics, deployments: Sequence[Deployment], requests: Durations, room: Room) -> None:
        self._figures, self._deployments, self._requests, self._room = figures, deployments, requests, room

    def collect(self) -> Iterator[Metric]:
        about = "1, with the version of the program that answers."
        yield _gauges("tunehook_build_info", about, ("version", "record_version", "python"), _build())
        yield from self._jobs()
        yield from self._upstreams()
        yield from self._health()
        yield _histogram(REQUEST_SECONDS, self._requests.rows)
        tally = self._figures.tally
        for counter in COUNTERS:
            yield _counters(counter.name, counter.about, counter.labels, tally.counters.get(counter, {}))
        for histogram in HISTOGRAMS:
            yield _histogram(histogram, tally.histograms.get(histogram, {}))

    def _jobs(self) -> Iterator[Metric]:
        told = self._figures
        jobs = {stage.value: told.jobs.get(stage.value, 0) for stage in Stage}
        yield _gauge("tunehook_jobs", "Jobs by stage.", "stage", jobs)
        yield _gauge("tunehook_due", "Records that are due and not yet claimed by a scheduler.", "queue", told.backlog)
        about, parked = "Records parked after 20 steps without progress", told.parked
        yield GaugeMetricFamily("tunehook_parked", f"{about}.", value=sum(parked.values()))
        yield _gauge("tunehook_parked_records", f"{about}, by kind.", "kind", parked)
        yield _counter("tunehook_delivery_attempts", "Webhook delivery attempts by outcome.", "outcome", told.attempts)
        yield _counter("tunehook_extras_cancelled", "Duplicate upstream jobs cancelled.", "upstream", told.extras)

    def _upstreams(self) -> Iterator[Metric]:
        told = self._figures
        yield _gauge("tunehook_live_jobs", "Jobs that are tracked at an upstream.", "upstream", told.live)
        yield _gauge("tunehook_slot_waiting_jobs", "Jobs that wait for a slot there.", "upstream", told.slot_waiting)
        yield _gauge("tunehook_upstream_held", "1 while no jobs are created there.", "upstream", told.held)
        about = "Polls in a row that came to no end, as when each is killed; alert above 3."
        yield _gauge("tunehook_polls_in_vain", about, "upstream", told.polls_in_vain)
        there = Counter(one.upstream for one in self._deployments)
        yield _gauge("tunehook_deployments", "Deployments that an upstream may have.", "upstream", there)
        about = "Known price an hour of one replica of each of them, in USD; one without a known price adds nothing."
        yield _gauge("tunehook_deployments_usd_per_hour", about, "upstream", _an_hour(self._deployments))

    def _health(self) -> Iterator[Metric]:
        told, (used, limit), disk = self._figures, self._room.memory, self._room.disk
        about = "Seconds by which Redis' clock was set back within a day; alert above 0."
        yield GaugeMetricFamily("tunehook_clock_set_back_seconds", about, value=told.clock_set_back)
        if told.clock_age is not None:
            about = "Seconds since a scheduler last ran; alert above 30."
            yield GaugeMetricFamily("tunehook_clock_age_seconds", about, value=told.clock_age)
        if used:
            about = "Redis' memory that counts against its limit."
            yield GaugeMetricFamily("tunehook_redis_memory_used_bytes", about, value=used)
        if limit:
            about = "Redis' maxmemory; alert when more than 80 % of it is used."
            yield GaugeMetricFamily("tunehook_redis_memory_limit_bytes", about, value=limit)
        if disk:
            free, size = disk
            yield GaugeMetricFamily("tunehook_data_disk_free_bytes", "Free on the data directory's disk.", value=free)
            yield GaugeMetricFamily("tunehook_data_disk_size_bytes", "Size of the data directory's disk.", value=size)


def _an_hour(deployments: Sequence[Deployment]) -> dict[str, float]:
    prices = dict.fromkeys((one.upstream for one in deployments), 0.0)
    for one in deployments:
        prices[one.upstream] += (one.price and one.price.usd_per_hour) or 0.0
    return prices


@cache
def _build() -> dict[Labels, float]:
    return {(version("tunehook"), str(RECORD_VERSION), platform.python_version()): 1}


def _families(
    kind: type[GaugeMetricFamily | CounterMetricFamily],
    name: str,
    about: str,
    labels: Labels,
    values: Mapping[Labels, float],
) -> Metric:
    family = kind(name, about, labels=labels)
    for row, value in values.items():
        family.add_metric(row, value)
    return family


_gauges, _counters = partial(_families, GaugeMetricFamily), partial(_families, CounterMetricFamily)


def _gauge(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    return _gauges(name, about, (label,), {(row,): value for row, value in values.items()})


def _counter(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    return _counters(name, about, (label,), {(row,): value for row, value in values.items()})


def _histogram(family: HistogramFamily, rows: Mapping[Labels, Buckets]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.about, labels=family.labels)
    bounds = [*(str(float(bound)) for bound in family.bounds), "+Inf"]
    for labels, buckets in rows.items():
        metric.add_metric(labels, list(zip(bounds, buckets.up_to(), strict=True)), buckets.seconds)
    return metric
