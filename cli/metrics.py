"""`tunehook jobs metrics` and `jobs compare`: losses of jobs, read from their events."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from cli.chart import chart
from cli.failures import AskedWrongly
from cli.job_text import Object, job_path, job_usd
from cli.lines import say, tell
from cli.options import FOUND, Service
from cli.service_client import ServiceClient
from cli.terminal import PLAIN, Shape, is_terminal, print_json, print_list, print_rows, sparkline

#: What an event says of a step beside its number and the losses.
_SHOWN_FIRST = (
    *("step", "train_mean_reward", "full_valid_mean_reward"),
    *("train_loss", "valid_loss", "full_valid_loss", "train_mean_token_accuracy"),
)

#: A curve is drawn no wider.
WIDEST = 100


@dataclass
class Curve:
    """The metrics of one job. `rows`: by step, oldest first."""

    rows: dict[int, dict[str, float]] = field(default_factory=dict)
    total_steps: int = 0

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Takes the metrics out of events of the job. A step that is told again replaces what was told before."""
        for event in events:
            data = event["data"] or {}
            step = data.get("step")
            if not isinstance(step, int):
                continue
            numbers = {name: value for name, value in data.items() if isinstance(value, int | float)}
            total = numbers.pop("total_steps", 0)
            self.total_steps = int(total) or self.total_steps
            self.rows[step] = self.rows.get(step, {}) | numbers

    def add_columns(self, columns: Mapping[str, Sequence[float | None]]) -> None:
        """Takes the columns of `metrics_of`."""
        for place, step in enumerate(columns["step"]):
            row = {name: values[place] for name, values in columns.items() if name != "step"}
            known = {name: value for name, value in row.items() if value is not None}
            self.rows[int(step or 0)] = self.rows.get(int(step or 0), {}) | known

    def values(self, name: str) -> list[float]:
        """Returns the values of a metric, by step."""
        return [row[name] for _, row in sorted(self.rows.items()) if name in row]


def metrics_of(client: ServiceClient, job: str) -> Object:
    """Returns all metrics of a job as `GET …/metrics` has them: columns of the same length."""
    return client.get(job_path(job, "metrics"))


def metrics(
    job: str,
    /,
    *,
    as_csv: Annotated[bool, Parameter(name="--csv")] = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
    plot: bool = False,
    service: Service = FOUND,
) -> int:
    """Print a job's losses or rewards, a step a row.

    Args:
        job: its id
        as_csv: as CSV, with a heading
        as_json: the API's object: columns of the same length
        plot: as a curve of each loss or reward
    """
    with ServiceClient.from_arguments(service) as client:
        found = metrics_of(client, job)
    columns = found["columns"]
    names = [name for name in _SHOWN_FIRST if name in columns] + sorted(columns.keys() - set(_SHOWN_FIRST))
    rows = list(zip(*(columns[name] for name in names), strict=True))
    if as_json:
        print_json(found)
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([names, *rows])
    elif plot:
        for name in filter(_is_curve, names):
            points = _points(columns, name)
            extreme, word = (min, "lowest") if "loss" in name else (max, "highest")
            step, best = extreme(points, key=lambda point: point[1])
            tell(f"{name}: {points[0][1]:.4g} to {points[-1][1]:.4g}, {word} {best:.4g} at step {step}")
            for line in chart(points, width=min(Console().width, WIDEST)):
                tell(line)
    else:
        print_rows([name.replace("_", " ").upper() for name in names], rows)
        if is_terminal():
            say(*(f"{name}: {sparkline(_known(columns[name]), 40)}" for name in filter(_is_curve, names)))
    if not rows:
        say("No metrics yet: the upstream reports them when the training runs.")
    return 0


def _is_curve(name: str) -> bool:
    return "loss" in name or "mean_reward" in name


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


@dataclass(frozen=True)
class Compared:
    """One job of the comparison. Losses are step and value."""

    job: Object
    train: Sequence[tuple[int, float]]
    valid: Sequence[tuple[int, float]]

    @property
    def best(self) -> float:
        """The lowest loss, by validation where there is one; what jobs are sorted by."""
        return min((loss for _, loss in self.valid or self.train), default=float("inf"))

    def shown(self) -> Object:
        found: Object = {"id": self.job["id"], "status": self.job["status"], **_swept(self.job)}
        for name, values in (("train_loss", self.train), ("valid_loss", self.valid)):
            step, best = min(values, key=lambda pair: pair[1], default=(None, None))
            final = values[-1][1] if values else None
            found |= {f"final_{name}": final, f"best_{name}": best, f"best_{name}_step": step}
        return found | {"usd": job_usd(self.job), "fine_tuned_model": self.job["fine_tuned_model"]}


def compare(*job: str, sweep: str | None = None, shape: Shape = PLAIN, service: Service = FOUND) -> int:
    """Compare the final and the best losses of jobs, the best job first.

    Args:
        job: their ids
        sweep: all jobs of this sweep
    """
    if bool(job) == bool(sweep):
        raise AskedWrongly(why="Name jobs, or give --sweep NAME.")
    with ServiceClient.from_arguments(service) as client:
        found = (
            list(client.pages("/fine_tuning/jobs", **{"metadata[sweep]": sweep}))
            if sweep
            else [client.get(job_path(one)) for one in dict.fromkeys(job)]
        )
        rows = sorted((_compared(client, one) for one in found), key=lambda one: one.best)
    if not rows:
        say(f"No job has the sweep {sweep!r}. `tunehook jobs --json` shows the metadata of all.")
    print_list(_HEAD, [row.shown() for row in rows], map(_cells, rows), shape)
    return 0


def _compared(client: ServiceClient, job: Object) -> Compared:
    columns = metrics_of(client, job["id"])["columns"]
    valid = _points(columns, "full_valid_loss") or _points(columns, "valid_loss")
    return Compared(job, _points(columns, "train_loss"), valid)


def _points(columns: Mapping[str, Sequence[float | None]], name: str) -> list[tuple[int, float]]:
    pairs = zip(columns["step"], columns.get(name, ()), strict=False)
    return [(int(step), value) for step, value in pairs if step is not None and value is not None]


def _swept(job: Object) -> Object:
    hyperparameters = dict(job["hyperparameters"] or {})
    kind = job["method"]["type"]
    hyperparameters |= (job["method"].get(kind) or {}).get("hyperparameters") or {}
    return {"model": job["model"], "hyperparameters": hyperparameters}


_HEAD = ("JOB", "STATUS", "RUN", "TRAIN", "BEST", "VALID", "BEST", "USD", "CURVE")


def _cells(row: Compared) -> tuple[object, ...]:
    shown = row.shown()
    run = (row.job["metadata"] or {}).get("sweep_run")
    run = run or " ".join(f"{name}={value}" for name, value in shown["hyperparameters"].items())
    losses = [shown[f"{which}_{name}"] for name in ("train_loss", "valid_loss") for which in ("final", "best")]
    curve = sparkline([loss for _, loss in row.valid or row.train], 12)
    return (shown["id"], shown["status"], run, *map(_number, losses), shown["usd"], curve)


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
