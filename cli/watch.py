"""`tunehook watch`: follows jobs to their end, with progress, loss and the time that is left."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli import event_stream, times
from cli.failures import FAILED, STILL_RUNNING, TRY_AGAIN, AskedWrongly, CommandFailed
from cli.job_text import ENDED, HEAD, Object, job_note, job_path, job_row
from cli.lines import clean, say
from cli.metrics import Curve, metrics_of
from cli.options import FOUND, Service, examples
from cli.service_client import ServiceClient
from cli.terminal import PLAIN, SIGNS, Shape, print_json_line, print_list, sparkline

app = App(
    name="watch",
    help_epilogue=examples("watch ftjob-Ab12", "watch ftjob-Ab12 ftjob-Cd34 --timeout 3600"),
)
#: Jobs whose logs come in one stream.
OF_A_STREAM = 4
#: The time that is left is drawn anew so often.
DRAW_SECONDS = 1.0
#: So many changes are drawn at once.
AT_ONCE = 1000
BAR = 20
#: The name of an event and its data; or why no more will come.
News = queue.SimpleQueue[tuple[str, Object] | BaseException]


@dataclass
class Watched:
    """A job that is followed. `first`: when the first step was seen, and which; `said`: what a pipe was told last."""

    job: Object
    curve: Curve = field(default_factory=Curve)
    first: tuple[float, int] | None = None
    said: object = None

    @property
    def step(self) -> int:
        return max(self.curve.rows, default=0)

    @property
    def share(self) -> float | None:
        """The part that is done, of the training or else of the upload; None if it is not known."""
        if self.job["status"] == "succeeded":
            return 1.0
        if self.curve.total_steps:
            return self.step / self.curve.total_steps
        upload = self.job["tunehook"]["upload"]
        return upload["bytes_sent"] / upload["bytes_total"] if upload and upload["bytes_total"] else None

    @property
    def left(self) -> float | None:
        """Seconds to its end: as the upstream says, or by the pace of the steps."""
        if self.job["status"] in ENDED:
            return None
        if self.job["estimated_finish"]:
            return float(max(0.0, self.job["estimated_finish"] - time.time()))
        if self.first is None or self.step <= self.first[1]:
            return None
        pace = (time.monotonic() - self.first[0]) / (self.step - self.first[1])
        return pace * (self.curve.total_steps - self.step)

    def look(self, client: ServiceClient) -> None:
        """Reads the job, and what was measured until now."""
        self.job = client.get(job_path(self.job["id"]))
        self.curve.add_columns(metrics_of(client, self.job["id"])["columns"])
        self.measured(*client.get(job_path(self.job["id"], "events"), limit=20)["data"])  # they name the last step

    def measured(self, *events: Object) -> None:
        """Takes what events of the job's log measured."""
        self.curve.add(reversed(events))
        if self.first is None and self.step:
            self.first = (time.monotonic(), self.step)


@app.default
def watch(
    *job: str,
    timeout: float | None = None,
    as_lines: Annotated[bool, Parameter(name="--jsonl")] = False,
    shape: Shape = PLAIN,
    service: Service = FOUND,
) -> int:
    """Follow jobs to their end. Ctrl-C ends the command alone: the jobs go on.

    Exit status: 0 all succeeded, 1 one failed or was cancelled, 3 the time is over and one still runs.

    Args:
        job: their ids
        timeout: wait for so many seconds at most
        as_lines: the jobs as the API has them, a line for each change
    """
    if not job:
        raise AskedWrongly(why="Name a job: tunehook watch ftjob-…")
    with ServiceClient.from_arguments(service) as client:
        return watch_jobs(client, list(dict.fromkeys(job)), shape=shape, timeout=timeout, as_lines=as_lines)


def watch_jobs(
    client: ServiceClient, ids: Sequence[str], *, shape: Shape, timeout: float | None = None, as_lines: bool = False
) -> int:
    """Follows jobs, draws them on stderr, and prints them when they have ended; returns the exit status."""
    watched = [Watched(client.get(job_path(one))) for one in ids]
    for one in watched:
        if one.job["status"] in ENDED:
            one.look(client)
    screen = Console(stderr=True)
    draws = screen.is_terminal and not as_lines
    try:
        with Live(console=screen, auto_refresh=False) if draws else nullcontext() as live:
            over = _follow(client, watched, live, as_lines=as_lines, timeout=timeout)
    except KeyboardInterrupt:
        names = " ".join(one.job["id"] for one in watched if one.job["status"] not in ENDED)
        say(f"Not followed any longer; the training goes on. To follow it again: tunehook watch {names}")
        raise
    jobs = [one.job for one in watched]
    if not as_lines:
        print_list(HEAD, jobs, map(job_row, jobs), shape)
    if not over:
        say(f"The {timeout:g} s are over, and not all have ended.")
        return STILL_RUNNING
    return 0 if all(job["status"] == "succeeded" for job in jobs) else FAILED


def _follow(
    client: ServiceClient, watched: Sequence[Watched], live: Live | None, *, as_lines: bool, timeout: float | None
) -> bool:
    """Draws or tells what changes. Returns whether all have ended in time."""
    until = float("inf") if timeout is None else time.monotonic() + timeout
    news, over = News(), threading.Event()
    by_id = {one.job["id"]: one for one in watched}
    ids = list(by_id)
    for first in range(0, len(ids), OF_A_STREAM):
        some = ids[first : first + OF_A_STREAM]
        threading.Thread(target=_read, args=(client, some, news, over), daemon=True).start()
    try:
        while True:
            if live:
                live.update(_drawn(watched, live.console.width), refresh=True)
            else:
                for one in watched:
                    _told(one, as_lines=as_lines)
            if all(one.job["status"] in ENDED for one in watched):
                return True
            if time.monotonic() >= until:
                return False
            for item in _came(news, min(DRAW_SECONDS, until - time.monotonic())):
                try:
                    _take(client, item, by_id)
                except CommandFailed as away:
                    if away.exit_status != TRY_AGAIN:
                        raise
                    news.put(item)  # the thread that reads the stream says how long to try
    finally:
        over.set()


def _read(client: ServiceClient, ids: Sequence[str], news: News, over: threading.Event) -> None:
    """Reads the stream of some jobs, in a thread of its own: a read cannot be waited for with Ctrl-C and --timeout."""
    try:
        for event in event_stream.events(client, f"/events?jobs={','.join(ids)}", over=over):
            # Behind the first `ready`, and a `reset`, nothing is missed: the jobs are read after it.
            named: Object = {"ids": ids} if event.event in ("ready", "reset") else json.loads(event.data)
            news.put((event.event, named))
    except BaseException as error:
        news.put(error)


def _came(news: News, seconds: float) -> Iterator[tuple[str, Object]]:
    """Yields what came, after waiting for it. Raises what ended a stream."""
    found: list[tuple[str, Object] | BaseException] = []
    with suppress(queue.Empty):
        found.append(news.get(timeout=max(0.0, seconds)))
        while len(found) < AT_ONCE:
            found.append(news.get_nowait())
    for item in found:
        if isinstance(item, BaseException):
            raise item
        yield item


def _take(client: ServiceClient, item: tuple[str, Object], watched: Mapping[str, Watched]) -> None:
    kind, data = item
    if kind in ("ready", "reset"):
        for job_id in data["ids"]:
            watched[job_id].look(client)
    elif kind == "job" and (one := watched.get(data["id"])):
        if data["tunehook"]["revision"] >= one.job["tunehook"]["revision"]:  # not older than what was read since
            one.job = data
            if data["status"] in ENDED:  # its last steps may come in the stream later
                one.look(client)
    elif kind == "log":
        watched[data["fine_tuning_job_id"]].measured(data["event"])


def _told(one: Watched, *, as_lines: bool) -> None:
    """Tells of a change, where there is no terminal to draw on."""
    tenths = None if one.share is None else int(10 * one.share)
    state = one.job["tunehook"]["revision"] if as_lines else (one.job["status"], tenths, job_note(one.job))
    if state == one.said:
        return
    one.said = state
    if as_lines:
        print_json_line(one.job)
    else:
        say("  ".join(filter(None, [one.job["id"], one.job["status"], *_progress(one)])))


def _drawn(watched: Sequence[Watched], room: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    bar = BAR if room >= 100 else 0
    for least in (len("▶ succeeded"), max(len(one.job["id"]) for one in watched), bar, len("100%  10 min left"), None):
        table.add_column(no_wrap=True, overflow="ellipsis", min_width=least)
    for one in watched:
        sign, style = SIGNS.get(one.job["status"], ("●", ""))
        filled = round(bar * (one.share or 0.0))
        table.add_row(
            Text(f"{sign} {one.job['status']}", style=style),
            one.job["id"],
            Text("█" * filled + "░" * (bar - filled)),
            *(Text(text) for text in _progress(one)),
        )
    return table


def _progress(one: Watched) -> tuple[str, str]:
    """Returns how far it is, and its reward or loss, or why it waits."""
    percent = "" if one.share is None else f"{one.share:.0%}"
    left = "" if one.left is None else f"{times.lasting(one.left)} left"
    rewards = one.curve.values("train_mean_reward")
    word, values = ("reward", rewards) if rewards else ("loss", one.curve.values("train_loss"))
    curve = f"{word} {values[-1]:.3f} {sparkline(values)}" if values else ""
    return "  ".join(filter(None, (percent, left))), clean(job_note(one.job) or curve)
