from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tunehook.model.job import JobError, Waiting
from tunehook.model.record import Record


class Counted(Record):
    """Tokens of a dataset: `total`, and `trained`, what remains when examples over the limit (`over`) are cut."""

    total: int
    trained: int
    over: int


class Dataset(Record):
    """What the check found of a file, in numbers; the report on the shelf has the lines."""

    format: str
    also: list[str] = []  #: other formats that all its lines fit
    examples: int
    errors: int
    warnings: int
    image_examples: int = 0
    counted: dict[str, Counted] = {}  #: by `<encoding>/<limit>`, once somebody asked for it


class File(Record):
    """A file that is kept here; its bytes lie in the data directory under its id."""

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
    dataset: Dataset | None = None  #: none of result files


class Upload(Record):
    """A file that comes in parts. Once `completed`, `file_id` is the file that was made of them."""

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
    part_ids: list[str] = []  #: of which the file was made

    def shown_status(self, now: float) -> str:
        """`expired` is not written anywhere: it is a pending upload whose hour is over."""
        return "expired" if self.status == "pending" and now >= self.expires_at else self.status


class Copy(Record):
    """The one upload of some bytes to one upstream, shared by all jobs that train on them."""

    upstream: str
    sha256: str
    file_id: str  #: one of our files that has these bytes
    filename: str
    bytes: int
    state: Literal["wanted", "ready", "refused"] = "wanted"
    upstream_file_id: str | None = None
    upload_id: str | None = None  #: of the upstream's Uploads API
    parts: list[str] = []  #: its part ids so far, in order
    bytes_sent: int = 0
    attempts: int = 0  #: sent whole, or begun anew in parts
    failures: int = 0  #: in a row, since something arrived
    waiting: Waiting | None = None  #: why nothing is sent now, if that goes on
    error: JobError | None = None


@dataclass(frozen=True)
class BuiltFiles:
    """The files, and what the check found in the one to train on."""

    training: File
    validation: File | None
    report: dict[str, Any]
