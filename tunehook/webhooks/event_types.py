"""The types of events. OpenAI's three reach every subscriber; ours only who asked for them by name.

SDKs know a closed list of types and parse an unknown one as the first class of their union, so ours would look
like something else to a client that never heard of them.
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
#: What a subscription gets that names none, and what goes to a job's `callback_url`.
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
