"""The job record: its stages, the moves between them, and its parts. Pure.

A job lives through *stages*, which are ours, while its *status* is what OpenAI's clients see:

    accepted → uploading ⇄ creating → tracked → settled
                   ⇅           ⇅         ↑
                   └─────── waiting ─────┘    (for a slot, a quota, an upstream that refuses our key)

A job that its project's budget does not allow goes from accepted to waiting, if an operator may approve it.

Everything that has not ended may be settled directly (refused, cancelled); a copy of the dataset that the
upstream has lost sends a job from creating back to uploading.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

from tunehook.errors import IllegalMove
from tunehook.model.project import Money
from tunehook.model.record import Record

#: Prefix of the id of a file that lies at the upstream and not here.
AT_UPSTREAM = "upstream:"
#: The statuses that end a job. No other status of an upstream, known or not, is an end.
ENDS = frozenset({"succeeded", "failed", "cancelled"})
#: The statuses that OpenAI and Azure are known to give. A job with any other is followed like a running one.
KNOWN_STATUSES = ENDS | {
    "validating_files", "queued", "running", "paused", "created", "pending", "pausing", "resuming", "cancelling",
}  # fmt: skip
#: The code of a job that waits for an operator's approval, and for nothing that comes by itself.
AWAITING = "awaiting_approval"
#: The name of the metadata pair that marks our jobs: `<deployment>/<our job id>`.
TAG = "tunehook"


#: An id of a job or file at an upstream: it becomes part of a path there. LiteLLM's are some 300 characters of base64.
_UPSTREAM_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:=-]{0,511}", re.ASCII)


def is_upstream_id(value: object) -> bool:
    return isinstance(value, str) and _UPSTREAM_ID.fullmatch(value) is not None


class Stage(StrEnum):
    ACCEPTED = "accepted"
    UPLOADING = "uploading"
    CREATING = "creating"
    WAITING = "waiting"
    TRACKED = "tracked"
    SETTLED = "settled"


#: All moves between stages. A job may also change within its stage, see `may_move`.
ARROWS: Mapping[Stage, frozenset[Stage]] = {
    Stage.ACCEPTED: frozenset({Stage.UPLOADING, Stage.WAITING, Stage.SETTLED}),
    Stage.UPLOADING: frozenset({Stage.CREATING, Stage.WAITING, Stage.SETTLED}),
    Stage.CREATING: frozenset({Stage.UPLOADING, Stage.WAITING, Stage.TRACKED, Stage.SETTLED}),
    Stage.WAITING: frozenset({Stage.UPLOADING, Stage.CREATING, Stage.TRACKED, Stage.SETTLED}),
    Stage.TRACKED: frozenset({Stage.SETTLED}),
    Stage.SETTLED: frozenset(),
}


def may_move(source: Stage, target: Stage) -> bool:
    """Returns whether a move is allowed. A stage may stay: a settled job still gets result files."""
    return source == target or target in ARROWS[source]


#: The status that clients see in our own stages; `tracked` shows the upstream's status, `settled` the final one.
_SHOWN = {
    Stage.ACCEPTED: "validating_files",
    Stage.UPLOADING: "validating_files",
    Stage.CREATING: "validating_files",
    Stage.WAITING: "queued",
}


class JobError(Record):
    code: str
    message: str
    param: str | None = None


class Waiting(Record):
    """Why a job or an upload waits. `code` is the upstream's own if it sent one. Times are unix seconds."""

    code: str
    reason: str
    since: int
    retry_at: int | None
    not_before: int | None = None  #: no create sooner, even when a step runs: a job may still be listed after a 429
    resume: Literal[Stage.UPLOADING, Stage.CREATING] = Stage.CREATING


class FileRef(Record):
    """A dataset of a job: the id of our file and its bytes, of which the same are uploaded once.

    Or `upstream:file-…`, a file at the upstream, whose bytes are not known here.
    """

    id: str
    sha256: str
    bytes: int

    @property
    def upstream_id(self) -> str | None:
        """The id at the upstream of a file that was never here; None for our own."""
        return self.id.removeprefix(AT_UPSTREAM) if self.id.startswith(AT_UPSTREAM) else None


class KeptDataset(Record):
    """Whether the files of an imported job are kept here. `since`: when that was asked for, unix seconds.

    `reason`: why the last attempt failed, or why files are lost.
    """

    state: Literal["fetching", "kept", "lost"] = "fetching"
    since: int
    failures: int = 0  #: attempts in a row
    reason: str | None = None


class Price(Record):
    """US dollars for a million trained tokens, or for an hour; `as_of` is the day of that price."""

    usd_per_million_tokens: float | None = None
    usd_per_hour: float | None = None
    source: str
    as_of: str


class Cost(Record):
    """What a training costs or will cost. `usd` is None without a price per token."""

    billed_tokens: int
    usd: float | None = None


class LeftOut(Record):
    """A member of a source job that its retrain does not have, such as `integrations`."""

    member: str
    why: str


def fingerprint(status: object, finished_at: object, fine_tuned_model: object, estimated_finish: object) -> str:
    """Returns the fingerprint of a job with these members, also as they stand in an upstream's answer."""
    return f"{status}|{finished_at}|{fine_tuned_model}|{estimated_finish}"


class UpstreamJob(Record):
    """A job as the upstream last described it, without the differences of its dialect."""

    id: str
    status: str
    created_at: int = 0
    finished_at: int | None = None
    model: str = ""
    fine_tuned_model: str | None = None
    trained_tokens: int | None = None
    estimated_finish: int | None = None
    error: JobError | None = None
    hyperparameters: dict[str, Any] | None = None
    method: dict[str, Any] | None = None
    seed: int | None = None
    training_file: str | None = None
    validation_file: str | None = None
    result_files: list[str] = []
    metadata: dict[str, str] | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDS

    @property
    def unnamed(self) -> bool:
        """Whether it succeeded, and the upstream has not said how its model is called."""
        return self.status == "succeeded" and not self.fine_tuned_model

    @property
    def odd_status(self) -> str | None:
        """The status, if it is not a known one."""
        return None if self.status in KNOWN_STATUSES else self.status

    @property
    def fingerprint(self) -> str:
        """Changes when the job does: a poll compares it before it reads the record."""
        return fingerprint(self.status, self.finished_at, self.fine_tuned_model, self.estimated_finish)


class JobSpec(Record):
    """The client's request, checked, in OpenAI's own members."""

    model: str
    training_file: str
    validation_file: str | None = None
    method: dict[str, Any] | None = None
    hyperparameters: dict[str, Any] | None = None
    integrations: list[dict[str, Any]] | None = None
    metadata: dict[str, str] | None = None
    seed: int
    suffix: str | None = None
    options: dict[str, Any] | None = None  #: the upstream's own members, with the defaults of its kind

    @property
    def kind(self) -> str:
        """The method, such as `supervised`."""
        return str((self.method or {}).get("type", "supervised"))

    @property
    def asked(self) -> dict[str, Any]:
        """The hyperparameters that were asked for, with a method or without."""
        inner = (self.method or {}).get(self.kind) or {}
        found = inner.get("hyperparameters") or self.hyperparameters or {}
        return {name: value for name, value in found.items() if value is not None}


class Job(Record):
    """A fine-tune. Times are unix seconds; `None` in an optional member means "not yet"."""

    id: str
    project: str
    key_id: str
    created_at: int
    stage: Stage = Stage.ACCEPTED
    spec: JobSpec
    upstream: str
    callback_url: str | None = None
    training: FileRef
    validation: FileRef | None = None
    looks: int = 0  #: searches after a create of unknown outcome that found nothing
    repeats: int = 0  #: creates that were repeated because the one before was never found
    answered_with: str | None = None  #: the id in a create's answer that may be this job's: none is created again
    doubtful_since: int | None = None  #: when a create first had an unknown outcome: extras are looked for from then on
    upload_again: int = 0  #: how often the upstream had lost the copy of the dataset
    upstream_job_id: str | None = None
    seen: UpstreamJob | None = None
    waiting: Waiting | None = None
    error: JobError | None = None
    status: str | None = None  #: the end, once settled
    settled_at: int | None = None
    result_files: dict[str, str] = {}  #: upstream file id → ours
    mark: str = ""  #: the deployment's name when the job was accepted, for the mark of its upstream job
    request_sha256: str = ""  #: of the canonical body that asked for it
    news_at: int | None = None  #: when the upstream last reported something new
    unnamed_since: int | None = None  #: when the upstream first said `succeeded` without the model's name
    odd_status: str | None = None  #: the first status of the upstream that is not a known one
    stalled_at: int | None = None  #: when the webhook was published that nothing new came for long
    checkpoint_told: int = 0  #: the last step whose checkpoint was published
    ready_at: int | None = None  #: when its model first answered
    price: Price | None = None  #: as it was when the job was accepted
    deployment: str | None = None  #: what to do at the upstream before the model answers; None: nothing
    deploy: bool = True  #: whether its model is deployed after success, where that costs nothing by the hour
    deployed: str | None = None  #: `deploying` or `callable`, of a model that has to be deployed
    priority: Literal["low", "normal"] = "normal"  #: low: its slot comes after those of its project's other jobs
    retrained_from: str | None = None  #: the job whose data it trains on again
    left_out: list[LeftOut] = []  #: members of that job that its upstream does not have
    dataset: KeptDataset | None = None  #: None unless an import asked for the files
    money: Money | None = None  #: its part of the project's budget; None: the project has none
    estimate: Cost | None = None  #: None if its dataset is not here, or until its tokens are counted
    traceparent: str | None = None  #: W3C's, of the span that accepted it; None: it is not traced
    creates: int | None = None  #: of a traced job, how many creates were sent

    @property
    def files(self) -> list[FileRef]:
        """The files of ours, which have to be uploaded to the upstream."""
        asked = [self.training, *([self.validation] if self.validation else [])]
        return [file for file in asked if file.upstream_id is None]

    @property
    def trace_id(self) -> str | None:
        return self.traceparent[3:35] if self.traceparent else None

    @property
    def shown_status(self) -> str:
        """The status that clients see."""
        if self.stage is Stage.SETTLED:
            return str(self.status)
        if self.stage is Stage.TRACKED and self.seen:
            return "running" if self.seen.ended else self.seen.status  # clients see an end once it is settled
        return _SHOWN.get(self.stage, "validating_files")

    @property
    def cost(self) -> Cost | None:
        """The cost of the tokens that the upstream reports, at the price that the job was accepted with."""
        tokens = self.seen.trained_tokens if self.seen and self.stage is Stage.SETTLED else None
        if tokens is None:
            return None
        a_million = self.price.usd_per_million_tokens if self.price else None
        return Cost(billed_tokens=tokens, usd=None if a_million is None else round(a_million * tokens / 1_000_000, 4))

    def moved(self, target: Stage, **changes: Any) -> Job:
        """Returns the job moved to a stage, or changed within its own. Raises IllegalMove."""
        if not may_move(self.stage, target):
            raise IllegalMove(source=self.stage, target=target)
        if target is not Stage.WAITING:
            changes.setdefault("waiting", None)
        return self.model_copy(update={"stage": target, **changes})

    def create_sent(self) -> Job:
        """Returns a traced job with one more create; another as it is."""
        return self.model_copy(update={"creates": (self.creates or 0) + 1}) if self.traceparent else self

    def settled(self, status: str, *, now: int, **changes: Any) -> Job:
        """Returns the job at its end; `status` is one of ENDS."""
        return self.moved(Stage.SETTLED, status=status, settled_at=now, **changes)


class TunedModel(Record):
    """A fine-tuned model: its upstream, its base model, the job that made it, and what trains it again.

    These outlive the job. Models that were recorded before 0.3 have none of the optional members.
    """

    name: str
    upstream: str
    base: str
    job_id: str
    created_at: int
    training_file: str | None = None  #: of ours; None if it is at the upstream only
    validation_file: str | None = None
    method: dict[str, Any] | None = None
    hyperparameters: dict[str, Any] | None = None
    suffix: str | None = None

    @property
    def files(self) -> set[str]:
        """The ids of the datasets that it was trained on, of those that are ours."""
        return {file_id for file_id in (self.training_file, self.validation_file) if file_id}


class Message(Record):
    """An entry of a job's log, as `GET …/events` shows it."""

    created_at: int
    level: str = "info"
    message: str
    type: str = "message"
    data: dict[str, Any] | None = None
    upstream_event_id: str | None = None  #: "" for an event of the upstream that has none

    @cached_property
    def content_sha256(self) -> str:
        """Tells an event by time, words and data, for an upstream that gives it another id in each answer."""
        told = [self.created_at, self.level, self.type, self.message, self.data or {}]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def mark_of(job: UpstreamJob) -> tuple[str, str]:
    """Returns (deployment, our job's id) from an upstream job's mark; two empty strings without one."""
    deployment, _, job_id = (job.metadata or {}).get(TAG, "").partition("/")
    return deployment, job_id


def is_about(seen: UpstreamJob, job: Job, tag: str) -> bool:
    """Returns whether an upstream's answer is about this job: its id, and no mark but `tag` or the one it had."""
    before = (job.seen.metadata or {}).get(TAG) if job.seen else None
    return seen.id == job.upstream_job_id and (seen.metadata or {}).get(TAG) in (None, before, tag)
