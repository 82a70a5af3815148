"""The types of webhook events: OpenAI's three go to every subscriber, ours to those that name them.

SDKs know a closed list of types and parse an unknown one as the first class of their union, so a client that does
not expect one of ours would take it for something else.
"""

from __future__ import annotations

SUCCEEDED = "fine_tuning.job.succeeded"
FAILED = "fine_tuning.job.failed"
CANCELLED = "fine_tuning.job.cancelled"
CREATED = "fine_tuning.job.created"
RUNNING = "fine_tuning.job.running"
WAITING = "fine_tuning.job.waiting"
CHECKPOINT = "fine_tuning.job.checkpoint"
STALLED = "fine_tuning.job.stalled"
READY = "fine_tuning.model.ready"
RETIRING = "fine_tuning.model.retiring"
UPSTREAM_REFUSED = "tunehook.upstream.refused"
RECORD_PARKED = "tunehook.record.parked"
ENDPOINT_DISABLED = "webhook_endpoint.disabled"
#: The types of a subscription that names none, and of a job's `callback_url`.
DEFAULT = (SUCCEEDED, FAILED, CANCELLED)
BY_NAME = (
    CREATED,
    RUNNING,
    WAITING,
    CHECKPOINT,
    STALLED,
    READY,
    RETIRING,
    UPSTREAM_REFUSED,
    RECORD_PARKED,
    ENDPOINT_DISABLED,
)
ALL = DEFAULT + BY_NAME
