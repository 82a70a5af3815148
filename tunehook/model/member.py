"""Members: names of what can be due or leased, `<kind>:<id>`, and the RQ queue of each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Queue = Literal["steps", "polls", "bulk", "deliver"]
QUEUES: tuple[Queue, ...] = ("steps", "polls", "bulk", "deliver")
#: The kinds that can be due, and the queue of their steps. `look` is one poll of an upstream: the names are stored in
#: Redis, so they outlive the words that the code uses.
KINDS: dict[str, Queue] = {
    "job": "steps",
    "look": "polls",
    "sweep": "steps",
    "ready": "steps",
    "copy": "bulk",
    "check": "bulk",
    "estimate": "bulk",
    "deployment": "steps",
    "dataset": "bulk",
    "delivery": "deliver",
}
#: Handled without a step, by one process at a time: leased, never due.
_LEASED_ONLY: dict[str, Queue] = {"upload": "steps", "adopt": "steps", "rows": "steps"}
RETENTION = "sweep:retention"
RETIRING = "sweep:retiring"
PARKED = "sweep:parked"
SWEEPS = (RETIRING, PARKED, RETENTION)


def queue_of(member: str) -> Queue:
    """Returns the RQ queue on which the member's step runs."""
    kind = member.partition(":")[0]
    return KINDS.get(kind) or _LEASED_ONLY[kind]


def _of(kind: str) -> Callable[[str], str]:
    """Returns the function that names the member of that kind for an id."""
    return f"{kind}:".__add__


job_member = _of("job")
estimate_member = _of("estimate")  # by the job's id, as the next three
dataset_member = _of("dataset")
ready_member = _of("ready")
deployment_member = _of("deployment")
check_member = _of("check")  # by the file's id
upload_member = _of("upload")
poll_member = _of("look")  # by the upstream's name
delivery_member = _of("delivery")
rows_member = _of("rows")  # by the project: the rows of its jobs are made (job_index.py)


def import_member(upstream: str, upstream_job_id: str) -> str:
    return f"adopt:{upstream}:{upstream_job_id}"


def copy_id(upstream: str, sha256: str) -> str:
    return f"{upstream}:{sha256}"


def copy_member(upstream: str, sha256: str) -> str:
    return f"copy:{copy_id(upstream, sha256)}"
