"""Hands spans over from processes that live for one step to one that lives long, and sends them.

One message a span, over a pair of sockets that all forks inherit. A step never waits: a full socket drops the span.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from tunehook.telemetry.sdk import SdkSpans, batches, end

#: A span has a few ids and up to a hundred links.
MESSAGE_BYTES = 64 * 1024
#: So much may wait while the machine is busy: some hundred spans. Linux takes 208 KiB at most.
WAITING_BYTES = 1024 * 1024
#: A SIGTERM is seen after this time at most.
WAKE_SECONDS = 0.5
_SCOPE = InstrumentationScope("tunehook")


def handing_over(service_name: str) -> tuple[SdkSpans, Callable[[], None], Callable[[], None]]:
    """Returns spans that are handed over, the function that a child process runs to send them, and what ends it."""
    # Messages keep their bounds, also of many senders; macOS has no SEQPACKET.
    kind = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
    out, into = socket.socketpair(socket.AF_UNIX, kind)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WAITING_BYTES)
    into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WAITING_BYTES)
    out.setblocking(False)

    def _close() -> None:
        out.close()
        into.close()

    return SdkSpans(_Sender(out), service_name), lambda: _collect(into, service_name), _close


class _Sender(SpanProcessor):
    def __init__(self, out: socket.socket) -> None:
        self._out = out

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is not None and context.trace_flags.sampled:
            with suppress(OSError):  # full, or too long
                self._out.send(written(span))


def _collect(source: socket.socket, service_name: str) -> None:
    """Sends what comes, until SIGTERM; then what is there, within two seconds."""
    processor, resource = batches(), Resource.create({"service.name": service_name})
    # No exception is raised there: it could come while a lock is taken, and the lock would never be given back.
    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    source.settimeout(WAKE_SECONDS)
    while not signals:
        with suppress(TimeoutError):
            processor.on_end(read(source.recv(MESSAGE_BYTES), resource))
    source.setblocking(False)
    with suppress(BlockingIOError):
        while message := source.recv(MESSAGE_BYTES):
            processor.on_end(read(message, resource))
    end(processor)


def written(span: ReadableSpan) -> bytes:
    """Returns a span as a message."""
    attributes = dict(span.attributes or {})
    row = {
        "name": span.name,
        "kind": span.kind.value,
        "context": _ids(span.get_span_context()),
        "parent": _ids(span.parent),
        "links": [_ids(one.context) for one in span.links],
        "attributes": attributes,
        "failed": span.status.status_code is StatusCode.ERROR,
        "times": [span.start_time, span.end_time],
    }
    return json.dumps(row, separators=(",", ":")).encode()


def read(message: bytes, resource: Resource) -> ReadableSpan:
    """Returns the span of a message."""
    row: Mapping[str, Any] = json.loads(message)
    begun, ended = row["times"]
    return ReadableSpan(
        row["name"],
        context=_context(row["context"]),
        parent=_context(row["parent"]) if row["parent"] else None,
        resource=resource,
        attributes=row["attributes"],
        links=[Link(_context(one)) for one in row["links"]],
        kind=SpanKind(row["kind"]),
        status=Status(StatusCode.ERROR if row["failed"] else StatusCode.UNSET),
        start_time=begun,
        end_time=ended,
        instrumentation_scope=_SCOPE,
    )


def _ids(context: SpanContext | None) -> list[int] | None:
    return [context.trace_id, context.span_id, context.trace_flags, context.is_remote] if context else None


def _context(ids: Iterable[int]) -> SpanContext:
    trace_id, span_id, flags, remote = ids
    return SpanContext(trace_id, span_id, bool(remote), TraceFlags(flags))
