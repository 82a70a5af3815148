"""/metrics, for Prometheus. Everything is counted where it happens; asking is one round trip to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.requests import context_of
from tunehook.model.job import Stage
from tunehook.store.metrics import Metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def read(request: web.Request) -> web.Response:
    ctx = context_of(request)
    figures = await ctx.store.metrics.read(ctx.upstreams)
    text = await asyncio.to_thread(_text, figures)  # the process' own figures are read from /proc
    return web.Response(body=text, headers={"content-type": CONTENT_TYPE})


def _text(figures: Metrics) -> bytes:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Told(figures))
    return generate_latest(registry)


class _Told(Collector):
    def __init__(self, figures: Metrics) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        told = self._figures
        jobs = {stage.value: told.jobs.get(stage.value, 0) for stage in Stage}
        yield _gauges("tunehook_jobs", "Jobs by stage.", "stage", jobs)
        yield _gauges("tunehook_due", "What is due and not taken by a clock yet.", "queue", told.backlog)
        yield GaugeMetricFamily("tunehook_parked", "Records given up after 20 fruitless steps.", value=told.parked)
        yield _counters("tunehook_delivery_attempts", "Attempts of webhooks by outcome.", "outcome", told.attempts)
        yield _counters("tunehook_extras_cancelled", "Extra upstream jobs cancelled.", "upstream", told.extras)
        yield _gauges("tunehook_live_jobs", "Jobs that an upstream has and that are watched.", "upstream", told.live)
        yield _gauges("tunehook_slot_waiting_jobs", "Jobs that wait for a slot.", "upstream", told.slot_waiting)
        yield _gauges("tunehook_upstream_held", "1 while nothing is created there.", "upstream", told.held)
        if told.clock_age is not None:
            about = "Seconds since a clock last looked; alert above 30."
            yield GaugeMetricFamily("tunehook_clock_age_seconds", about, value=told.clock_age)


def _gauges(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _counters(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, about, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
