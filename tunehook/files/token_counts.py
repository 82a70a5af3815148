"""Token counts: counted once per file, encoding and limit, and kept with the file's record."""

from __future__ import annotations

import logging

from tunehook.dataset.tokens import encoding_of, token_limit
from tunehook.errors import Conflict, StoreUnavailable
from tunehook.files import Files
from tunehook.files.storage import Blob
from tunehook.model.file import Counted, File

log = logging.getLogger(__name__)


def already_counted(file: File, model: str) -> Counted | None:
    """Returns the count that the file's record has for this model."""
    return file.dataset.counted.get(_kind(model)) if file.dataset else None


async def count(files: Files, file: File, model: str) -> Counted:
    """Returns the tokens of a checked file for this model. Raises DatasetUnread, DataDirUnavailable."""
    assert file.dataset is not None
    known = already_counted(file, model)
    if known is not None:
        return known
    question = {"do": "count", "format": file.dataset.format, "model": model}
    blob = Blob(files.storage, files.storage.name(file.id), file.bytes)
    counted = Counted.model_validate((await files.counter.ask(question, blob.chunks(), file.project))[0])
    try:
        await files.store.files.note_count(file.id, _kind(model), counted)
    except (Conflict, StoreUnavailable) as error:
        log.info("the count of %s is not kept: %s", file.id, error.message)
    return counted


def _kind(model: str) -> str:
    return f"{encoding_of(model)}/{token_limit(model)}"
