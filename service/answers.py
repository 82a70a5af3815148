"""Answers in JSON, with numbers as JavaScript writes them."""

from __future__ import annotations

from functools import partial
from typing import Any

from aiohttp import web

from tunehook.model.file import Copy
from tunehook.openai_format import jobs
from tunehook.openai_format.json_text import spaced
from tunehook.store.jobs import JobRecord

json_response = partial(web.json_response, dumps=spaced)


def job_shown(record: JobRecord, copy: Copy | None = None) -> dict[str, Any]:
    """Returns a job as it was read. `copy`: the upload that it waits for, if it does."""
    cancelled = record.cancel_requested_at
    return jobs.job_object(record.job, revision=record.revision, cancel_requested_at=cancelled, copy=copy)
