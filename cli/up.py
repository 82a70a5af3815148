"""`tunehook up`: runs Tunehook on this machine, until Ctrl-C."""

from __future__ import annotations

import signal
import time
from importlib.util import find_spec
from types import FrameType

from cli.follow import Followed
from cli.lines import tell
from cli.open_page import page_address
from cli.processes import Access, Processes
from tunehook import settings
from tunehook.errors import TunehookError

LOCAL_RECEIVERS = "127.0.0.1,localhost"
LOCAL_TRAINER = "local, which trains on this machine (GET /v1/models names its bases; tunehook trainer fetch gets one)"
TEXT = """\
Tunehook listens on {url}   (ready in {seconds:.1f} s)
{upstream}
{logs}
{page}
    export OPENAI_BASE_URL={url}/v1
    export OPENAI_API_KEY={api_key}
    export OPENAI_WEBHOOK_SECRET={callback_secret}

    curl $OPENAI_BASE_URL/files -H "Authorization: Bearer $OPENAI_API_KEY" \\
         -F purpose=fine-tune -F file=@examples/sarcastic.jsonl
    curl $OPENAI_BASE_URL/fine_tuning/jobs \\
         -H "Authorization: Bearer $OPENAI_API_KEY" \\
         -H "Content-Type: application/json" \\
         -d '{{"training_file": "file-…", "model": "{model}",
              "callback_url": "http://127.0.0.1:9000/"}}'

Ctrl-C stops it; its data stays in {data_dir} for the next start.
"""


class NoTrainingLibraries(TunehookError):
    """The libraries that train are not installed. Install them: pip install 'tunehook[trainer]'"""


def local_changes(found: settings.Settings) -> dict[str, str]:
    """Returns the settings that differ on a laptop: receivers on this machine are allowed."""
    changes = {}
    if not found.webhook_allow and found.host.startswith(("127.", "localhost")):
        changes["TUNEHOOK_WEBHOOK_ALLOW"] = LOCAL_RECEIVERS
    return changes


def up(*, trainer: bool = False) -> int:
    """Run Tunehook on this machine, until Ctrl-C.

    Parameters
    ----------
    trainer
        Train on this machine: run a trainer as the upstream `local`. It needs the extra `trainer`.
    """
    begun = time.monotonic()
    found = settings.load()
    if trainer and find_spec("trl") is None:
        raise NoTrainingLibraries
    simulate = not trainer and not found.all_upstreams()
    changes = local_changes(found)
    if simulate or trainer:
        changes["TUNEHOOK_POLL_SECONDS"] = str(min(found.poll_seconds, 1.0))
    with Processes(found, changes, simulate=simulate, train=trainer) as processes:
        stop = _Stop()
        bootstrap, secret = found.bootstrap_key, found.bootstrap_callback_secret
        access: Access = processes.access
        api_key = bootstrap.get_secret_value() if bootstrap else access.api_key
        from cli.terminal import wrapped  # noqa: PLC0415  (imports what draws: 0.1 s of a start)

        upstream = ", ".join([*found.all_upstreams(), *[LOCAL_TRAINER] * trainer])
        if simulate:
            upstream = _simulator(processes.simulator_url, found.simulator_speed)
        logs = found.data_dir / "{service,worker}.log"
        tell(
            TEXT.format(
                url=processes.url,
                seconds=time.monotonic() - begun,
                upstream=wrapped(f"Upstream: {upstream}", indent=4),
                model="qwen3-0.6b" if trainer else "gpt-4.1-mini-2025-04-14",
                page=f"Page: {page_address(processes.url, api_key)}\n" if found.page == "on" else "",
                logs=wrapped(f"Logs: {logs}, and a line here for each job and webhook", indent=4),
                api_key=api_key,
                callback_secret=secret.get_secret_value() if secret else access.callback_secret,
                data_dir=found.data_dir,
            )
        )
        names = ["service", "worker", *["trainer"] * trainer]
        followed = [Followed(found.data_dir.absolute() / f"{name}.log") for name in names]
        while not stop.asked:
            processes.check()
            for line in (line for log in followed for line in log.lines()):
                tell(line)
            time.sleep(0.2)
        tell("stopping")
    return 0


def _simulator(url: str | None, speed: float) -> str:
    """Tells of the simulator, and how long a job of ten examples takes there, with polls and its webhook."""
    seconds = 460 / speed + 2
    small_job = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return (
        f"the simulator at {url}, which trains nothing and costs nothing: a small job takes about {small_job} "
        "(TUNEHOOK_SIMULATOR_SPEED=1: 8 min, as in life). Set OPENAI_API_KEY for the real one"
    )


class _Stop:
    """Notes Ctrl-C, SIGTERM and the end of the terminal. Installed before the text that tells of Ctrl-C."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGHUP, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
