"""Files, uploads in parts, and copies of datasets at upstreams. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tunehook.model.job import JobError, Waiting
from tunehook.model.record import Record


class Counted(Record):
    """Tokens of a dataset: in all, and trained, with the examples over the limit (`over` of them) cut."""

    total: int
    trained: int
    over: int


class Dataset(Record):
    """What the check of a dataset found, in numbers; the stored report has the lines."""

    format: str
    also: list[str] = []  #: other formats that all its lines fit
    examples: int
    errors: int
    warnings: int
    image_examples: int = 0
    counted: dict[str, Counted] = {}  #: by `<encoding>/<limit>`, once it was needed


class File(Record):
    """A file; the storage has its bytes under its id."""

    id: str
    project: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    sha256: str
    status: Literal["uploaded", "processed", "error"] = "processed"
    status_details: str | None = None
    expires_at: int | None = None
    dataset: Dataset | None = None  #: None for result files


class Upload(Record):
    """An upload in parts. Once `completed`, `file_id` is the file that was joined from them."""

    id: str
    project: str
    filename: str
    purpose: str
    bytes: int  #: as announced
    created_at: int
    expires_at: int
    expires_after: int | None = None  #: of the file, seconds
    status: Literal["pending", "completed", "cancelled"] = "pending"
    file_id: str | None = None
    part_ids: list[str] = []  #: of which the file was joined, in order

    def shown_status(self, now: float) -> str:
        """Returns the status for clients: a pending upload whose hour is over is `expired`."""
        return "expired" if self.status == "pending" and now >= self.expires_at else self.status


class Copy(Record):
    """The copy of a dataset at one upstream, shared by all jobs that train on the same bytes."""

    upstream: str
    sha256: str
    file_id: str  #: one of our files that has these bytes
    filename: str
    bytes: int
    state: Literal["wanted", "ready", "refused"] = "wanted"
    upstream_file_id: str | None = None
    upload_id: str | None = None  #: at the upstream's Uploads API
    parts: list[str] = []  #: ids of the parts sent so far, in order
    bytes_sent: int = 0
    attempts: int = 0  #: uploads begun, whole or in parts
    failures: int = 0  #: in a row, since a part arrived
    waiting: Waiting | None = None  #: why it is not sent now, if it waits
    error: JobError | None = None


@dataclass(frozen=True)
class BuiltFiles:
    """The files built from examples, and the report on the training file."""

    training: File
    validation: File | None
    report: dict[str, Any]
