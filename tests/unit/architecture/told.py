"""Every family of /metrics, for the tests of what is about them."""

import re
from typing import Any

from service.metrics import Room, exposition, requests
from tunehook.model.deployment import Deployment
from tunehook.store.metrics import Metrics
from tunehook.store.tally import COUNTERS, HISTOGRAMS, Buckets, Tally


def text() -> str:
    """Returns an exposition with a series of every family."""
    figures: dict[str, Any] = {name: {"x": 1} for name in Metrics.__annotations__}
    tally = Tally(
        {family: {("x",) * len(family.labels): 1.0} for family in COUNTERS},
        {family: {("x",) * len(family.labels): Buckets([1] * (len(family.bounds) + 1), 1.0)} for family in HISTOGRAMS},
    )
    figures |= {"clock_age": 1.0, "clock_set_back": 0.0, "tally": tally}
    durations = requests()
    durations.observe(("GET", "/livez", "2xx"), 0.001)
    deployment = Deployment(id="x", project="x", upstream="x", upstream_job_id="x", base="x", mark="x", asked_at=0)
    return exposition(Metrics(**figures), [deployment], durations, Room((1, 2), (1, 2))).decode()


def families() -> set[str]:
    """Returns the families of ours."""
    return set(re.findall(r"^# TYPE (tunehook_\S+)", text(), re.MULTILINE))


def names() -> set[str]:
    """Returns the names by which queries ask for them: a histogram has three."""
    histograms = set(re.findall(r"^# TYPE (tunehook_\S+) histogram", text(), re.MULTILINE))
    parts = {name + suffix for name in histograms for suffix in ("_bucket", "_count", "_sum")}
    return families() - histograms | parts
