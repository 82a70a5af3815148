"""Training files of `tunehook submit`: checked here, uploaded, and deleted again when no job is made of them."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from cli.dataset_text import report_text
from cli.failures import CommandFailed, naming
from cli.lines import say
from cli.options import path_of
from cli.service_client import ServiceClient
from cli.upload import upload
from tunehook.dataset.checker import Checker

CHUNK = 1 << 20
#: An upload of more bytes is announced.
LARGE = 16 << 20
#: Between two looks at a large file that is being checked.
LOOK_SECONDS = 1.0
file_path = partial(path_of, "/files")


class BadDataset(CommandFailed):
    """{name} has errors, and nothing was uploaded."""


class BadUpload(CommandFailed):
    """{name} has errors: {why}"""


class TrainingFiles:
    """Turns paths into ids of uploaded files. `fresh`: those that this command uploaded."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self.fresh: list[str] = []

    def id_of(self, given: str, *, minimum: int | None = None) -> str:
        """Returns the id of a file; uploads a path after it was checked. `minimum`: the least number of examples.

        Raises AskedWrongly, BadDataset, BadUpload.
        """
        path = Path(given)
        if given.startswith(("file-", "upstream:")) and not path.exists():
            return given
        self.check(path, minimum=minimum)
        if (size := path.stat().st_size) > LARGE:
            say(f"Uploading {path}, {size / 1e6:,.0f} MB.")
        found = upload(self._client, path)
        self.fresh.append(found["id"])
        if found["status"] == "uploaded":
            say(f"{given} is uploaded as {found['id']}, and is being checked.")
        while found["status"] == "uploaded":
            time.sleep(LOOK_SECONDS)
            found = self._client.get(file_path(found["id"]))
        if found["status"] == "error":
            raise BadUpload(name=given, why=found["status_details"])
        return str(found["id"])

    def check(self, path: Path, *, minimum: int | None = None) -> None:
        """Checks a file as the service will. Prints the report, and raises BadDataset if it has errors."""
        checker = Checker(judged="later") if minimum is None else Checker(judged="later", minimum=minimum)
        with naming(path), path.open("rb") as file:
            while chunk := file.read(CHUNK):
                checker.feed(chunk)
        report = checker.finish()
        if not report.ok:
            say(*report_text(str(path), report))
            raise BadDataset(name=path)
        warnings = "1 warning" if report.warnings == 1 else f"{report.warnings:,} warnings"
        warned = f", {warnings}: `tunehook check {path}` has them" if report.warnings else ""
        say(f"{path}: {report.format}, {report.examples:,} examples, no errors{warned}")

    def same(self, file_id: str, given: str) -> bool:
        """Whether an uploaded file has the bytes of this path, or is this id."""
        path = Path(given)
        if not path.exists():
            return file_id == given
        size = int(self._client.get(file_path(file_id))["bytes"])
        if size != path.stat().st_size:
            return False
        there = hashlib.sha256()
        with self._client.opened("GET", file_path(file_id, "content")) as answer:
            for chunk in answer.iter_bytes():
                there.update(chunk)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest() == there.digest()

    def drop(self) -> None:
        """Deletes the files that this command uploaded."""
        for file_id in self.fresh:
            with suppress(CommandFailed):
                self._client.delete(file_path(file_id))
