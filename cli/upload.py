"""Uploads a file: in one request, or in parts where it is larger than one request may be."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cli.failures import CommandFailed
from cli.import_jobs import Bar
from cli.job_text import Object
from cli.service_client import ServiceClient

#: A larger file is sent in parts of this size, which show how far it is, and are each sent again if need be. The API
#: takes 512 MB in one request, and 64 MB as a part.
PART_BYTES = 16 * 1024**2
#: Joining 8 GB takes the service a while.
COMPLETE_SECONDS = 900.0


def upload(client: ServiceClient, path: Path, *, part: int = PART_BYTES) -> Object:
    """Uploads a file for training; returns its object.

    `part`: the most bytes of one request. Raises OSError, ServiceRefused, ServiceUnreachable.
    """
    size = path.stat().st_size
    if size <= part:
        return client.upload(path)
    about = {"filename": path.name, "purpose": "fine-tune", "bytes": size, "mime_type": "application/jsonl"}
    begun = client.post("/uploads", about)["id"]
    try:
        ids = []
        with path.open("rb") as file, Bar("parts", -(-size // part)) as bar:
            while content := file.read(part):
                ids.append(client.post_part(f"/uploads/{begun}/parts", content)["id"])
                bar.step()
        done = client.post_idempotent(f"/uploads/{begun}/complete", {"part_ids": ids}, seconds=COMPLETE_SECONDS)
    except BaseException:
        with suppress(CommandFailed):
            client.post(f"/uploads/{begun}/cancel", {})
        raise
    file_object: Object = done["file"]
    return file_object
