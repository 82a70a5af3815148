"""One log line for each request that changes something or fails, and for each change by an admin key."""

from __future__ import annotations

import logging
import time

from aiohttp import web

from service.client_address import client_address
from service.requests import CALLER

log = logging.getLogger("tunehook.api")
audit_log = logging.getLogger("tunehook.audit")

#: The job that the request made; of other requests, the path has it.
ACCEPTED_JOB: web.RequestKey[str] = web.RequestKey("accepted_job", str)
#: The `traceparent` of the span that accepted it; None: there is none.
LOGGED_TRACE: web.RequestKey[str | None] = web.RequestKey("logged_trace", str)
#: Line breaks and other control characters, written out.
_CONTROLS = {code: f"\\u{code:04x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


def log_request(request: web.Request, request_id: str, begun: float, outcome: str, code: str | None = None) -> None:
    """Logs the request. `begun`: by `time.perf_counter()`. `outcome`: a status, or how the connection ended."""
    ms = round((time.perf_counter() - begun) * 1000)
    caller = request.get(CALLER)
    job = _shown(request.get(ACCEPTED_JOB) or request.match_info.get("fine_tuning_job_id", ""))
    path = _shown(request.path)
    client = client_address(request)
    whose = f", {caller.project or 'admin'}/{caller.id}" if caller else ""
    whose += f", {client}" if client else ""
    words = " ".join(filter(None, (outcome, code, "" if job in path else job)))
    fields = {"request_id": request_id, "method": request.method, "path": path, "outcome": outcome, "ms": ms}
    fields |= {"client": client} if client else {}
    fields |= {"status": int(outcome)} if outcome.isdigit() else {}
    fields |= {"project": caller.project, "key": caller.id} if caller else {}
    fields |= {name: value for name, value in (("code", code), ("job", job)) if value}
    if trace := request.get(LOGGED_TRACE):
        fields["trace_id"] = trace[3:35]
    log.info("%s %s → %s in %d ms (%s%s)", request.method, path, words, ms, request_id, whose, extra={"fields": fields})


def log_admin(request: web.Request, what: str, **fields: object) -> None:
    """Logs what an admin key has changed. `fields`: the new values."""
    key, client = request[CALLER].id, client_address(request)
    words = ", ".join(f"{name} {value}" for name, value in fields.items() if value is not None)
    words = words.translate(_CONTROLS)  # a name may have line breaks: no line of the log is made up by it
    by = f"admin/{key}, {client}" if client else f"admin/{key}"
    fields = {"what": what, "by": key, "client": client, **fields}
    audit_log.info("%s: %s (%s)", what, words, by, extra={"fields": fields})


def _shown(text: str) -> str:
    return text[:120].encode("unicode_escape").decode()
