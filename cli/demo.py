"""`tunehook demo`: the main job, from dataset to verified webhook, then a chat with the new model.

Only the training is simulated: the upstream is the simulator. The client is the official `openai`
package, the receiver is a plain HTTP server on a port of its own, and the progress is read from the jobs' events.
"""

from __future__ import annotations

import queue
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
from openai.types.fine_tuning import FineTuningJobEvent
from openai.types.webhooks import FineTuningJobSucceededWebhookEvent

from cli.lines import harmless, tell
from cli.processes import Processes
from cli.terminal import wrapped
from cli.up import local_changes
from tunehook import settings
from tunehook.errors import TunehookError

EXAMPLES = Path(__file__).parents[1] / "examples"
MODEL = "gpt-4.1-mini-2025-04-14"
SPEED = 80.0
PATIENCE = 120.0
#: Headers and body of webhooks.
Posts = queue.Queue[tuple[dict[str, str], bytes]]


class DemoFailed(TunehookError):
    """{why}"""


@dataclass
class Run:
    """One dataset and its job."""

    file: Path
    question: str
    job_id: str = ""
    newest: str | None = None
    bytes_sent: int = 0
    bytes_total: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    status: str = "validating_files"
    shown: str = field(default="", repr=False)


def demo() -> int:
    """Run the main job, from dataset to verified webhook, against a simulator."""
    begun = time.monotonic()
    if not EXAMPLES.is_dir():
        raise DemoFailed(why=f"{EXAMPLES} does not exist. Run the demo from a checkout of the repository.")
    with tempfile.TemporaryDirectory(prefix="tunehook-demo-") as directory, receiver() as (url, posts):
        changes = {"TUNEHOOK_SIMULATOR_SPEED": str(SPEED)}
        with running(Path(directory), changes, simulate=True) as (processes, client):
            told = f"Tunehook runs at {processes.url}, with a simulated OpenAI behind it ({SPEED:.0f} times as fast)."
            tell(wrapped(told, indent=0))
            runs = [
                Run(EXAMPLES / "sarcastic.jsonl", "What is the capital of France?"),
                Run(EXAMPLES / "audubon_birds.jsonl", "Name a bird species."),
            ]
            for run in runs:
                _submit(client, run, url)
            try:
                follow(client, runs)
                for _ in runs:
                    _told(client, runs, posts)
            except DemoFailed as failed:
                raise DemoFailed(why=f"{failed}\n\nThe workers' log ends:\n{processes.last('worker')}") from None
    tell(f"\nDone in {time.monotonic() - begun:.0f} s. `tunehook up` keeps it running; the README has a client.")
    return 0


@contextmanager
def running(
    directory: Path, changes: Mapping[str, str], *, simulate: bool = False, train: bool = False
) -> Iterator[tuple[Processes, openai.OpenAI]]:
    """Runs Tunehook on a directory of its own; yields its processes and a client."""
    found = settings.load().model_copy(update={"data_dir": directory, "port": 0, "redis_url": ""})
    own = {"REDIS_URL": "", "TUNEHOOK_STORE_URL": "", "TUNEHOOK_POLL_SECONDS": "0.5"}
    with Processes(found, {**local_changes(found), **own, **changes}, simulate=simulate, train=train) as processes:
        access = processes.access
        yield (
            processes,
            openai.OpenAI(
                base_url=f"{processes.url}/v1", api_key=access.api_key, webhook_secret=access.callback_secret
            ),
        )


def _submit(client: openai.OpenAI, run: Run, callback_url: str) -> None:
    with run.file.open("rb") as dataset:
        uploaded = client.files.create(file=dataset, purpose="fine-tune")
    run.bytes_total = uploaded.bytes
    job = client.fine_tuning.jobs.create(
        training_file=uploaded.id, model=MODEL, suffix=run.file.stem[:18], extra_body={"callback_url": callback_url}
    )
    run.job_id = job.id
    tell(wrapped(f"{run.file.name}: {uploaded.bytes} bytes as {uploaded.id}, job {job.id}", indent=8))


# ---- progress


def follow(client: openai.OpenAI, runs: list[Run]) -> None:
    """Reads the jobs' events until all have ended."""
    screen = _Screen(runs)
    until = time.monotonic() + PATIENCE
    while any(run.status not in ("succeeded", "failed", "cancelled") for run in runs):
        if time.monotonic() > until:
            raise DemoFailed(why=f"The jobs have not ended after {PATIENCE:.0f} s: {runs}")
        for run in runs:
            _read_events(client, run)
            run.status = client.fine_tuning.jobs.retrieve(run.job_id).status
        screen.draw()
        time.sleep(0.2)
    for run in runs:
        _read_events(client, run)
    screen.draw()


def _read_events(client: openai.OpenAI, run: Run) -> None:
    fresh: list[FineTuningJobEvent] = []
    for event in client.fine_tuning.jobs.list_events(run.job_id, limit=100):  # newest first
        if event.id == run.newest:
            break
        fresh.append(event)
    if fresh:
        run.newest = fresh[0].id
    for event in reversed(fresh):
        data: dict[str, Any] = event.data if isinstance(event.data, dict) else {}
        run.bytes_sent = max(run.bytes_sent, int(data.get("bytes_sent") or 0))
        if isinstance(data.get("step"), int):
            run.step, run.steps = max(run.step, data["step"]), int(data.get("total_steps") or 0)
            run.loss = data.get("train_loss", run.loss)


class _Screen:
    """A bar for each job: redrawn in place on a terminal, a line for each change elsewhere."""

    def __init__(self, runs: list[Run]) -> None:
        self._runs = runs
        self._drawn = False
        self._terminal = sys.stdout.isatty()

    def draw(self) -> None:
        if self._terminal and self._drawn:
            sys.stdout.write(f"\x1b[{len(self._runs)}A")
        for run in self._runs:
            line = _line(run)
            if self._terminal:
                sys.stdout.write(f"\x1b[2K{harmless(line)}\n")
            elif line != run.shown:
                tell(line)
            run.shown = line
        self._drawn = True


def _line(run: Run) -> str:
    done, total, what = (run.step, run.steps, "step") if run.steps else (run.bytes_sent, run.bytes_total, "bytes")
    filled = 24 * done // total if total else 0
    loss = f"  loss {run.loss:.3f}" if run.loss is not None else ""
    return f"{run.file.stem:<14} [{'█' * filled}{'·' * (24 - filled)}] {what} {done}/{total}{loss}  {run.status}"


# ---- the webhook


@contextmanager
def receiver() -> Iterator[tuple[str, Posts]]:
    """An HTTP server that takes webhooks: its URL, and the queue of what was posted."""
    posts = Posts()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            posts.put((dict(self.headers.items()), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hooks", posts
    finally:
        server.shutdown()
        server.server_close()


def verified(client: openai.OpenAI, posts: Posts) -> tuple[FineTuningJobSucceededWebhookEvent, str]:
    """Takes one webhook, and lets the official package verify it; returns it, and the model that it names."""
    try:
        headers, body = posts.get(timeout=30)
    except queue.Empty:
        raise DemoFailed(why="No webhook arrived within 30 s of the job's end.") from None
    event = client.webhooks.unwrap(body, headers)  # raises unless the signature is right
    if event.type != "fine_tuning.job.succeeded":
        raise DemoFailed(why=f"The webhook is of type {event.type}: {body.decode()}")
    return event, str(getattr(event.data, "fine_tuned_model", ""))


def _told(client: openai.OpenAI, runs: list[Run], posts: Posts) -> None:
    """Takes one webhook, and asks the model that it names."""
    event, model = verified(client, posts)
    run = next(run for run in runs if run.job_id == event.data.id)
    told = f"webhook {event.id} verified: {event.type}, job {event.data.id}"
    tell(f"\n{wrapped(told, indent=8)}\nmodel   {model}")
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": run.question}])
    tell(f"asked   {run.question}\nsays    {answer.choices[0].message.content}")
