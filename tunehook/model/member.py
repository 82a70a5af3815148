"""Members: names of what can be due or leased, `<kind>:<id>`, and the RQ queue of each kind."""

from __future__ import annotations

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
#: Handled by the API itself, one request at a time: leased, never due.
_LEASED_ONLY: dict[str, Queue] = {"upload": "steps", "adopt": "steps"}
RETENTION = "sweep:retention"
RETIRING = "sweep:retiring"
PARKED = "sweep:parked"
SWEEPS = (RETIRING, PARKED, RETENTION)


def queue_of(member: str) -> Queue:
    """Returns the RQ queue on which the member's step runs."""
    kind = member.partition(":")[0]
    return KINDS.get(kind) or _LEASED_ONLY[kind]


def job_member(job_id: str) -> str:
    return f"job:{job_id}"


def check_member(file_id: str) -> str:
    return f"check:{file_id}"


def estimate_member(job_id: str) -> str:
    return f"estimate:{job_id}"


def dataset_member(job_id: str) -> str:
    return f"dataset:{job_id}"


def poll_member(upstream: str) -> str:
    return f"look:{upstream}"


def ready_member(job_id: str) -> str:
    return f"ready:{job_id}"


def deployment_member(job_id: str) -> str:
    return f"deployment:{job_id}"


def upload_member(upload_id: str) -> str:
    return f"upload:{upload_id}"


def import_member(upstream: str, upstream_job_id: str) -> str:
    return f"adopt:{upstream}:{upstream_job_id}"


def copy_id(upstream: str, sha256: str) -> str:
    return f"{upstream}:{sha256}"


def copy_member(upstream: str, sha256: str) -> str:
    return f"copy:{copy_id(upstream, sha256)}"


def delivery_member(delivery_id: str) -> str:
    return f"delivery:{delivery_id}"
