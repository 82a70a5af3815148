"""The job, its stages and its arrows. Pure: what may happen, not how.

A job lives through *stages*, which are ours, while its *status* is what OpenAI's clients see:

    accepted → uploading ⇄ creating → tracked → settled
                   ⇅           ⇅         ↑
                   └─────── waiting ─────┘    (for a slot, a quota, an upstream that refuses our key)

Everything that has not ended may be settled directly (refused, cancelled); a copy of the dataset that the
upstream has lost sends a job from creating back to uploading.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from tunehook.errors import IllegalMove
from tunehook.model.record import Record

#: Before the id of a file that lies at the upstream and not here.
AT_UPSTREAM = "upstream:"
#: The statuses that end a job. Whatever else an upstream says, known or not, is not an end.
ENDS = frozenset({"succeeded", "failed", "cancelled"})
#: The metadata pair that says whose job it is: `<instance>/<our job id>`.
TAG = "tunehook"


class Stage(StrEnum):
    ACCEPTED = "accepted"
    UPLOADING = "uploading"
    CREATING = "creating"
    WAITING = "waiting"
    TRACKED = "tracked"
    SETTLED = "settled"


#: The only moves there are. Staying in a stage (progress) is always allowed but in `settled`, see `may_move`.
ARROWS: Mapping[Stage, frozenset[Stage]] = {
    Stage.ACCEPTED: frozenset({Stage.UPLOADING, Stage.SETTLED}),
    Stage.UPLOADING: frozenset({Stage.CREATING, Stage.WAITING, Stage.SETTLED}),
    Stage.CREATING: frozenset({Stage.UPLOADING, Stage.WAITING, Stage.TRACKED, Stage.SETTLED}),
    Stage.WAITING: frozenset({Stage.UPLOADING, Stage.CREATING, Stage.TRACKED, Stage.SETTLED}),
    Stage.TRACKED: frozenset({Stage.SETTLED}),
    Stage.SETTLED: frozenset(),
}


def may_move(source: Stage, target: Stage) -> bool:
    """A settled job may still be annotated (late events, result files), so every stage may stay what it is."""
    return source == target or target in ARROWS[source]


class JobError(Record):
    code: str
    message: str
    param: str | None = None


class Waiting(Record):
    """Why nothing happens now. `code` is the upstream's own where it sent one. Times are unix seconds."""

    code: str
    reason: str
    since: int
    retry_at: int | None
    resume: Literal[Stage.UPLOADING, Stage.CREATING] = Stage.CREATING


class FileRef(Record):
    """A dataset as the job needs it: which file of ours, and which bytes (the same bytes are uploaded once).

    Or `upstream:file-…`, which names a file there; its bytes are not known here.
    """

    id: str
    sha256: str
    bytes: int

    @property
    def upstream_id(self) -> str | None:
        """Of a file that was never here and lies at the upstream already: its id there."""
        return self.id.removeprefix(AT_UPSTREAM) if self.id.startswith(AT_UPSTREAM) else None


class Price(Record):
    """US dollars for a million trained tokens, or for an hour; `as_of` is the day somebody last looked (YYYY-MM-DD)."""

    usd_per_million_tokens: float | None = None
    usd_per_hour: float | None = None
    source: str
    as_of: str


class Cost(Record):
    """`usd` is None where there is no price for a token."""

    billed_tokens: int
    usd: float | None = None


class UpstreamJob(Record):
    """A job as the upstream last described it, its dialect already undone (see openai_upstream)."""

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
    def fingerprint(self) -> str:
        """Differs when there is news: what a look compares before it reads any record."""
        return f"{self.status}|{self.finished_at}|{self.fine_tuned_model}|{self.estimated_finish}"


class JobSpec(Record):
    """What the client asked to be trained, checked, in OpenAI's own members."""

    model: str
    training_file: str
    validation_file: str | None = None
    method: dict[str, Any] | None = None
    hyperparameters: dict[str, Any] | None = None
    integrations: list[dict[str, Any]] | None = None
    metadata: dict[str, str] | None = None
    seed: int
    suffix: str | None = None


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
    looks: int = 0  #: looks for a create of unknown outcome that found nothing
    repeats: int = 0  #: creates that were made again since the one before had never been found
    doubtful_since: int | None = None  #: a create once had an unknown outcome: extras are watched for from then
    upload_again: int = 0  #: how often the upstream had lost our copy of the dataset
    upstream_job_id: str | None = None
    seen: UpstreamJob | None = None
    waiting: Waiting | None = None
    error: JobError | None = None
    status: str | None = None  #: the end, once settled
    settled_at: int | None = None
    result_files: dict[str, str] = {}  #: upstream file id → ours
    mark: str = ""  #: the deployment's name when the job was accepted: what its upstream job bears before its id
    request_sha256: str = ""  #: of the canonical body that asked for it
    news_at: int | None = None  #: when the upstream last said something new of it
    stalled_at: int | None = None  #: when it was told that there was none for long
    checkpoint_told: int = 0  #: the last step whose checkpoint was told
    ready_at: int | None = None  #: when its model first answered
    price: Price | None = None  #: as it was when the job was accepted
    estimate: Cost | None = None  #: none if its dataset is not here, or until its tokens are counted

    @property
    def files(self) -> list[FileRef]:
        """Those of ours, which have to be brought to the upstream."""
        asked = [self.training, *([self.validation] if self.validation else [])]
        return [file for file in asked if file.upstream_id is None]

    def moved(self, target: Stage, **changes: Any) -> Job:
        """The job one stage further (or, with the same stage, changed in place)."""
        if not may_move(self.stage, target):
            raise IllegalMove(source=self.stage, target=target)
        if target is not Stage.WAITING:
            changes.setdefault("waiting", None)
        return self.model_copy(update={"stage": target, **changes})

    def settled(self, status: str, *, now: int, **changes: Any) -> Job:
        """The job at its end; `status` is one of ENDS."""
        return self.moved(Stage.SETTLED, status=status, settled_at=now, **changes)


class TunedModel(Record):
    """A model that was made here: where it can be asked, and what it was made from."""

    name: str
    upstream: str
    base: str
    job_id: str
    created_at: int


class Message(Record):
    """A line of a job's event log, as `GET …/events` shows it."""

    created_at: int
    level: str = "info"
    message: str
    type: str = "message"
    data: dict[str, Any] | None = None
    upstream_event_id: str | None = None


def mark_of(job: UpstreamJob) -> tuple[str, str]:
    """(deployment, our job's id) as its mark says; empty where it bears none."""
    deployment, _, job_id = (job.metadata or {}).get(TAG, "").partition("/")
    return deployment, job_id
