"""Members of vendors' answers, read with care: a member of another type counts as absent. Pure."""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from tunehook.errors import UpstreamUnknown
from tunehook.model.job import UpstreamJob

log = logging.getLogger(__name__)

Raw = Mapping[str, Any]
#: Characters of an upstream's texts that are kept: of a name or a kind, of a sentence.
NAME_CHARS, TEXT_CHARS = 256, 8192
#: A longer Retry-After is cut to this.
LONGEST_WAIT = 24 * 3600.0
#: Larger numbers are no JSON integers to some readers.
LARGEST = 2**53
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def text(raw: object, most: int = TEXT_CHARS) -> str | None:
    """Returns a text that is not empty, cut to `most` characters, or None."""
    return raw[:most] if isinstance(raw, str) and raw else None


def name_in(raw: object) -> str | None:
    """Returns a name; None for what is too long to be one, since a cut name is another's."""
    return text(raw) if isinstance(raw, str) and len(raw) <= NAME_CHARS else None


def number(raw: object) -> float | None:
    """Returns a finite number, or None."""
    return float(raw) if isinstance(raw, int | float) and abs(raw) < LARGEST else None


def whole(raw: object) -> int | None:
    """Returns a whole number from 0, also from a text of digits (Google's JSON has 64-bit numbers so), or None."""
    if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < 17:
        raw = int(raw)
    return raw if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < LARGEST else None


def table(raw: object) -> dict[str, Any]:
    """Returns an object, or an empty one."""
    return cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}


def rows(name: str, answer: Raw, member: str = "data") -> list[dict[str, Any]]:
    """Returns the objects of a list. Raises UpstreamUnknown when the member is no list."""
    found = answer.get(member)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise UpstreamUnknown(upstream=name, why="the answer is not a list")
    return cast("list[dict[str, Any]]", found)


def readable(name: str, found: Iterable[Raw], read: Callable[[Raw], UpstreamJob]) -> list[UpstreamJob]:
    """Returns the jobs of a list, without unreadable ones, which the log names."""
    jobs: list[UpstreamJob] = []
    for raw in found:
        try:
            jobs.append(read(raw))
        except UpstreamUnknown as error:
            shown = str(raw.get("id") or raw.get("name"))[:160]
            log.warning("job %s at %s is left out: %s", shown, name, error.message)
    return jobs


def unix(raw: object) -> int:
    """Returns the unix seconds of an RFC 3339 time; 0 for anything else."""
    try:
        moment = datetime.fromisoformat(raw) if isinstance(raw, str) else None
    except ValueError:
        return 0
    if moment is None:
        return 0
    return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds of a Retry-After; None for none, and for "nan" and "inf", which `float` takes."""
    try:
        seconds = float(headers.get("retry-after") or math.nan)
    except ValueError:
        return None
    return min(max(0.0, seconds), LONGEST_WAIT) if math.isfinite(seconds) else None


def digest(content: str, length: int) -> str:
    """Returns the first `length` characters of the SHA-256, in lower-case hex."""
    return hashlib.sha256(content.encode()).hexdigest()[:length]


def is_id(name: str) -> bool:
    """Returns whether a name is an id of one word, which may stand in a path."""
    return _ID.fullmatch(name) is not None


#: The end of a suffix by which our jobs are known: `th` and this many characters of a hash of the job's mark.
MARK_HASH = 10


def suffix_mark(tag: str) -> str:
    """Returns what the suffix of a job with this tag ends with."""
    return f"th{digest(tag, MARK_HASH)}"


def marked_suffix(suffix: str | None, tag: str, longest: int) -> str:
    """Returns the client's suffix, cut, with our mark behind it; at most `longest` characters."""
    ours = suffix_mark(tag)
    theirs = (suffix or "")[: longest - len(ours) - 1].rstrip("-")
    return f"{theirs}-{ours}" if theirs else ours
