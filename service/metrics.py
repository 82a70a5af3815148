"""/metrics, for Prometheus. Counters are kept in Redis; reading them is one round trip."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.requests import context_of
from tunehook.model.deployment import Deployment
from tunehook.model.job import Stage
from tunehook.store.metrics import Metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def read(request: web.Request) -> web.Response:
    ctx = context_of(request)
    figures = await ctx.store.metrics.read(ctx.upstreams)
    deployments = await ctx.store.deployments.live()
    text = await asyncio.to_thread(exposition, figures, deployments)  # the process' own figures are read from /proc
    return web.Response(body=text, headers={"content-type": CONTENT_TYPE})


def exposition(figures: Metrics, deployments: Sequence[Deployment] = ()) -> bytes:
    """Returns the text that Prometheus reads."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Told(figures, deployments))
    return generate_latest(registry)


class _Told(Collector):
    def __init__(self, figures: Metrics, deployments: Sequence[Deployment]) -> None:
        self._figures, self._deployments = figures, deployments

    def collect(self) -> Iterator[Metric]:
        told = self._figures
        jobs = {stage.value: told.jobs.get(stage.value, 0) for stage in Stage}
        yield _gauges("tunehook_jobs", "Jobs by stage.", "stage", jobs)
        yield _gauges("tunehook_due", "Records that are due and not yet claimed by a scheduler.", "queue", told.backlog)
        yield GaugeMetricFamily("tunehook_parked", "Records parked after 20 steps without progress.", value=told.parked)
        yield _counters("tunehook_delivery_attempts", "Webhook delivery attempts by outcome.", "outcome", told.attempts)
        yield _counters("tunehook_extras_cancelled", "Duplicate upstream jobs cancelled.", "upstream", told.extras)
        yield _gauges("tunehook_live_jobs", "Jobs that are tracked at an upstream.", "upstream", told.live)
        yield _gauges("tunehook_slot_waiting_jobs", "Jobs that wait for a slot there.", "upstream", told.slot_waiting)
        yield _gauges("tunehook_upstream_held", "1 while no jobs are created there.", "upstream", told.held)
        about = "Polls in a row that came to no end, as when each is killed; alert above 3."
        yield _gauges("tunehook_polls_in_vain", about, "upstream", told.polls_in_vain)
        there = Counter(one.upstream for one in self._deployments)
        yield _gauges("tunehook_deployments", "Deployments that an upstream may have.", "upstream", there)
        about = "Known price an hour of one replica of each of them, in USD; one without a known price adds nothing."
        yield _gauges("tunehook_deployments_usd_per_hour", about, "upstream", _an_hour(self._deployments))
        about = "Seconds by which Redis' clock was set back within a day; alert above 0."
        yield GaugeMetricFamily("tunehook_clock_set_back_seconds", about, value=told.clock_set_back)
        if told.clock_age is not None:
            about = "Seconds since a scheduler last ran; alert above 30."
            yield GaugeMetricFamily("tunehook_clock_age_seconds", about, value=told.clock_age)


def _an_hour(deployments: Sequence[Deployment]) -> dict[str, float]:
    prices = dict.fromkeys((one.upstream for one in deployments), 0.0)
    for one in deployments:
        prices[one.upstream] += (one.price and one.price.usd_per_hour) or 0.0
    return prices


def _family(
    kind: type[GaugeMetricFamily | CounterMetricFamily], name: str, about: str, label: str, values: Mapping[str, float]
) -> Metric:
    family = kind(name, about, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


_gauges, _counters = partial(_family, GaugeMetricFamily), partial(_family, CounterMetricFamily)
