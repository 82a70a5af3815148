"""Reads the filters of `GET /v1/fine_tuning/jobs`."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from service.requests import integer, metadata_filter
from tunehook.errors import InvalidParameter
from tunehook.model.job import KNOWN_STATUSES, Stage
from tunehook.store.job_index import JobFilter
from tunehook.wording import did_you_mean

FILTERS = ("stage", "status", "model", "upstream", "created_after", "created_before", "q")
#: The longest value of a filter: that of a pair of metadata.
LONGEST = 512
#: Unix seconds, up to the year 2286.
LATEST = 9_999_999_999


def job_filter(request: web.Request) -> JobFilter:
    """Returns the filter of the query. Raises InvalidParameter."""
    return JobFilter(
        metadata_filter(request),
        stage=_one_of(request, "stage", [stage.value for stage in Stage]),
        status=_one_of(request, "status", sorted(KNOWN_STATUSES)),
        model=_text(request, "model"),
        upstream=_text(request, "upstream"),
        created_after=_seconds(request, "created_after"),
        created_before=_seconds(request, "created_before"),
        text=_text(request, "q"),
    )


def _text(request: web.Request, name: str) -> str | None:
    text = request.query.get(name)
    if text is not None and not 1 <= len(text) <= LONGEST:
        raise InvalidParameter(param=name, why=f"it must have 1 to {LONGEST} characters")
    return text


def _one_of(request: web.Request, name: str, choices: Iterable[str]) -> str | None:
    text = _text(request, name)
    if text is not None and text not in choices:
        hint = did_you_mean(text, choices).strip()
        why = f"it must be one of {', '.join(choices)}{f' ({hint})' if hint else ''}"
        raise InvalidParameter(param=name, why=why)
    return text


def _seconds(request: web.Request, name: str) -> int | None:
    return integer(request, name, 0, 0, LATEST) if name in request.query else None
