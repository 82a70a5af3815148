"""Writes deploy/grafana/tunehook.json, the dashboard of Tunehook's metrics, to stdout.

Run it after a change: python deploy/grafana/dashboard.py > deploy/grafana/tunehook.json
It needs grafana-foundation-sdk, which is in the extra `dev`.
"""

from __future__ import annotations

import sys

from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery as Target
from grafana_foundation_sdk.models.common import BigValueGraphMode, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
#: Every series that is shown bears this: one dashboard for several deployments.
JOB = 'job=~"$job"'

Query = tuple[str, str]  #: PromQL and legend
#: Title, unit, what it says, queries.
Drawn = tuple[str, str, str, list[Query]]


def _rate(name: str, by: str, of: str = "[5m]") -> str:
    """Returns the rate of a counter that all API processes show alike."""
    return f"max by ({by}) (rate({name}{{{JOB}}}{of}))"


def _a_day(name: str, by: str) -> str:
    """Returns a day's increase of a counter that has upstreams and projects."""
    return f"sum by ({by}) (max by (upstream, project) (increase({name}{{{JOB}}}[1d])))"


def _spread(name: str, by: str = "") -> list[Query]:
    """Returns the median and the 95th percentile of a histogram that all API processes show alike."""
    labels = f"le, {by}" if by else "le"
    rows = f"max by ({labels}) (rate({name}_bucket{{{JOB}}}[15m]))"
    words = f" {{{{{by}}}}}" if by else ""
    return [(f"histogram_quantile({part}, {rows})", f"{name_of}{words}") for part, name_of in _PARTS]


_PARTS = ((0.5, "median"), (0.95, "p95"))
_REQUESTS = f"sum by (le, route) (rate(tunehook_request_duration_seconds_bucket{{{JOB}}}[5m]))"

FIRST: list[Drawn] = [
    ("Scheduler", "s", "Seconds since it last ran.", [(f"max(tunehook_clock_age_seconds{{{JOB}}})", "")]),
    ("Parked", "short", "An operator has to act.", [(f"max(tunehook_parked{{{JOB}}})", "")]),
    (
        "Held upstreams",
        "short",
        "No jobs are created there.",
        [(f"count(max by (upstream) (tunehook_upstream_held{{{JOB}}}) == 1) or vector(0)", "")],
    ),
    ("Live jobs", "short", "At all upstreams.", [(f"sum(max by (upstream) (tunehook_live_jobs{{{JOB}}}))", "")]),
    (
        "Spent in 30 days",
        "currencyUSD",
        "Trained tokens at their price.",
        [(f"sum(max by (upstream, project) (increase(tunehook_spent_usd_total{{{JOB}}}[30d])))", "")],
    ),
    (
        "Version",
        "short",
        "API processes by version.",
        [(f"count by (version) (tunehook_build_info{{{JOB}}})", "{{version}}")],
    ),
]
ROWS: dict[str, list[Drawn]] = {
    "Jobs": [
        (
            "Jobs by stage",
            "short",
            "All jobs that are kept.",
            [(f'max by (stage) (tunehook_jobs{{{JOB}, stage!="settled"}})', "{{stage}}")],
        ),
        (
            "At the upstreams",
            "short",
            "Tracked there, and waiting for a slot there.",
            [
                (f"max by (upstream) (tunehook_live_jobs{{{JOB}}})", "{{upstream}} live"),
                (f"max by (upstream) (tunehook_slot_waiting_jobs{{{JOB}}})", "{{upstream}} waiting"),
            ],
        ),
        (
            "Accepted → created",
            "s",
            "How long jobs wait until they are created.",
            _spread("tunehook_job_created_seconds", "upstream"),
        ),
        (
            "End → recorded here",
            "s",
            "By the upstream's clock; at most the poll interval.",
            _spread("tunehook_end_noticed_seconds", "upstream"),
        ),
        (
            "Due and not taken",
            "short",
            "More is due than the workers do.",
            [(f"max by (queue) (tunehook_due{{{JOB}}})", "{{queue}}")],
        ),
        (
            "Parked by kind",
            "short",
            "20 steps made no progress.",
            [(f"max by (kind) (tunehook_parked_records{{{JOB}}})", "{{kind}}")],
        ),
    ],
    "Money": [
        (
            "Spent a day",
            "currencyUSD",
            "By project.",
            [
                (
                    _a_day("tunehook_spent_usd_total", "project"),
                    "{{project}}",
                )
            ],
        ),
        (
            "Estimated a day",
            "currencyUSD",
            "Of jobs that were created.",
            [
                (
                    _a_day("tunehook_estimated_usd_total", "project"),
                    "{{project}}",
                )
            ],
        ),
        (
            "Trained tokens a day",
            "short",
            "By upstream.",
            [
                (
                    _a_day("tunehook_trained_tokens_total", "upstream"),
                    "{{upstream}}",
                )
            ],
        ),
        (
            "Deployments an hour",
            "currencyUSD",
            "Known prices of one replica each.",
            [
                (f"max by (upstream) (tunehook_deployments_usd_per_hour{{{JOB}}})", "{{upstream}}"),
                (f"sum(max by (upstream) (tunehook_deployments{{{JOB}}}))", "deployments"),
            ],
        ),
    ],
    "Webhooks": [
        ("Attempts", "ops", "By outcome.", [(_rate("tunehook_delivery_attempts_total", "outcome"), "{{outcome}}")]),
        ("Duration of an attempt", "s", "By outcome.", _spread("tunehook_delivery_duration_seconds", "outcome")),
        (
            "End → webhook received",
            "s",
            "From the record of the end to a receiver's 2xx.",
            _spread("tunehook_end_received_seconds"),
        ),
    ],
    "Upstreams": [
        (
            "Answers",
            "ops",
            "By HTTP status; none: no answer.",
            [(_rate("tunehook_upstream_answers_total", "upstream, code"), "{{upstream}} {{code}}")],
        ),
        (
            "Uploaded",
            "Bps",
            "Bytes of datasets.",
            [(_rate("tunehook_uploaded_bytes_total", "upstream"), "{{upstream}}")],
        ),
        (
            "Extra jobs cancelled",
            "short",
            "Made by repeated creates.",
            [(f"max by (upstream) (increase(tunehook_extras_cancelled_total{{{JOB}}}[1d]))", "{{upstream}}")],
        ),
        (
            "Polls in vain",
            "short",
            "In a row, each killed before its end.",
            [(f"max by (upstream) (tunehook_polls_in_vain{{{JOB}}})", "{{upstream}}")],
        ),
    ],
    "The API": [
        (
            "Requests",
            "reqps",
            "By status.",
            [(f"sum by (status) (rate(tunehook_request_duration_seconds_count{{{JOB}}}[5m]))", "{{status}}")],
        ),
        (
            "Slowest routes, p95",
            "s",
            "Five of them.",
            [(f"topk(5, histogram_quantile(0.95, {_REQUESTS}))", "{{route}}")],
        ),
        ("Memory of a process", "bytes", "Resident.", [(f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}")]),
    ],
    "Redis and disk": [
        (
            "Redis' memory",
            "percentunit",
            "From 90 % on nothing new is accepted.",
            [(f"max(tunehook_redis_memory_used_bytes{{{JOB}}} / tunehook_redis_memory_limit_bytes{{{JOB}}})", "used")],
        ),
        (
            "Redis' memory in bytes",
            "bytes",
            "That counts against its limit.",
            [(f"max(tunehook_redis_memory_used_bytes{{{JOB}}})", "used")],
        ),
        (
            "Data directory",
            "percentunit",
            "Free on its disk.",
            [(f"tunehook_data_disk_free_bytes{{{JOB}}} / tunehook_data_disk_size_bytes{{{JOB}}}", "{{instance}}")],
        ),
        ("Redis' clock set back", "s", "Within a day.", [(f"max(tunehook_clock_set_back_seconds{{{JOB}}})", "")]),
    ],
}


def _targets(queries: list[Query], *, instant: bool = False) -> list[Builder[Target]]:
    found: list[Builder[Target]] = []
    for reference, (text, legend) in zip("ABCDEF", queries, strict=False):
        query = Dataquery().expr(text).legend_format(legend or "__auto").ref_id(reference)
        found.append(query.instant() if instant else query)
    return found


def _stat(drawn: Drawn) -> Stat:
    title, unit, says, queries = drawn
    shown = ReduceDataOptions().calcs(["lastNotNull"])
    panel = Stat().title(title).description(says).unit(unit).datasource(SOURCE).span(4).height(4)
    return panel.reduce_options(shown).graph_mode(BigValueGraphMode.NONE).targets(_targets(queries, instant=True))


def _timeseries(drawn: Drawn) -> Timeseries:
    title, unit, says, queries = drawn
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
    panel = Timeseries().title(title).description(says).unit(unit).min(0).datasource(SOURCE).span(8).height(8)
    return panel.fill_opacity(8).legend(legend).targets(_targets(queries))


def dashboard() -> Dashboard:
    """Returns the builder of the dashboard."""
    built = (
        Dashboard("Tunehook")
        .uid("tunehook")
        .tags(["tunehook", "generated"])
        .description("Made by deploy/grafana/dashboard.py.")
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            QueryVariable("job")
            .label("Deployment")
            .datasource(SOURCE)
            .query("label_values(tunehook_build_info, job)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
        )
    )
    for drawn in FIRST:
        built = built.with_panel(_stat(drawn))
    for title, panels in ROWS.items():
        built = built.with_row(Row(title))
        for drawn in panels:
            built = built.with_panel(_timeseries(drawn))
    return built


if __name__ == "__main__":
    sys.stdout.write(JSONEncoder(sort_keys=True, indent=2).encode(dashboard().build()) + "\n")
