"""Log lines: one for people, or one JSON object, each without keys and secrets. Written to stderr."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Literal

#: A safety net: no line is meant to have one.
_SECRET = re.compile(r"\b(th_[a-z0-9]{6,32}_|whsec_|sk-)[A-Za-z0-9_+/=-]{8,}")
#: What each begins with: a line without one is not searched, which costs half of it.
_BEGINNINGS = ("th_", "whsec_", "sk-")


def _without_secrets(line: str, left_out: str) -> str:
    return _SECRET.sub(rf"\1{left_out}", line) if any(beginning in line for beginning in _BEGINNINGS) else line


def configure(form: Literal["text", "json"]) -> None:
    """Sets up the log of this process. httpx2 logs each request of ours at `info`, so it is quieter."""
    # No line shows these, and finding them out costs a third of a line: logging's own documentation says so.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # who called
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if form == "json" else _Text("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx2").setLevel(logging.WARNING)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        trace_id = getattr(record, "fields", {}).get("trace_id")
        line = super().format(record)
        return _without_secrets(f"{line} [trace {trace_id}]" if trace_id else line, "…")


class _Json(logging.Formatter):
    """One object a line: time, level, logger, message, perhaps traceback, and the members of `extra={"fields": …}`."""

    def format(self, record: logging.LogRecord) -> str:
        row = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            row["traceback"] = self.formatException(record.exc_info)
        return _without_secrets(json.dumps(row, default=str), "...")
