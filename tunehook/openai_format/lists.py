"""OpenAI's lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def list_object(rows: Sequence[object], **more: object) -> dict[str, Any]:
    """A list; of one that has pages, `has_more` says whether there are further ones."""
    return {"object": "list", "data": rows, **more}


def page_object(rows: list[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """A page of a list that names its first and last id."""
    first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
    return list_object(rows, first_id=first, last_id=last, has_more=has_more)
