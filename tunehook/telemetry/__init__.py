"""Telemetry: spans of a job's way for an OpenTelemetry collector. Off, and not imported, unless the settings say where.

A job's trace begins where it is accepted, or in the caller's trace, and its record keeps the W3C `traceparent`. The
first try of each thing done for it is a child in that trace. A job takes hours, so each later try is a trace of its
own that links to the job's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

from tunehook.settings import Settings, SettingsError

Kind = Literal["server", "client", "internal"]
Value = str | int | float | bool | None
_OFF: AbstractContextManager[None] = nullcontext()


class Spans(Protocol):
    """What makes spans; sdk.py has the one there is."""

    def span(
        self, name: str, job: str | None, *, first: bool, kind: Kind, links: Iterable[str | None]
    ) -> AbstractContextManager[None]: ...
    def describe(self, **attributes: Value) -> None: ...
    def link(self, traceparent: str) -> None: ...
    def current(self) -> str | None: ...


class _State:
    spans: Spans | None = None
    stop: Callable[[], None] | None = None


def span(
    name: str, job: str | None = None, *, first: bool = True, kind: Kind = "internal", links: Iterable[str | None] = ()
) -> AbstractContextManager[None]:
    """Returns the context in which something is one span.

    `job`: the `traceparent` of a job, or of a caller; None: a child of the current span, or a new trace. `first`: a
    child of it; else a new trace that links to it. `links`: further ones. An exception leaves its type, and no words.
    """
    return _State.spans.span(name, job, first=first, kind=kind, links=links) if _State.spans else _OFF


def describe(**attributes: Value) -> None:
    """Adds `tunehook.<name>` to the current span: ids, names and counts, never a secret or a part of a dataset."""
    if _State.spans:
        _State.spans.describe(**attributes)


def link(traceparent: str | None) -> None:
    """Links the current span to a job's trace."""
    if _State.spans and traceparent:
        _State.spans.link(traceparent)


def current() -> str | None:
    """Returns the `traceparent` of the current span; None without one."""
    return _State.spans.current() if _State.spans else None


def headers() -> dict[str, str]:
    """Returns the header that tells another program of the current span; none without one."""
    traceparent = current()
    return {"traceparent": traceparent} if traceparent else {}


def is_on() -> bool:
    return _State.spans is not None


def start_exporting(found: Settings) -> None:
    """Starts tracing in a process that lives long: a thread of its own sends the spans. Does nothing when off."""
    if found.otel_endpoint:
        _require()
        from tunehook.telemetry import sdk  # noqa: PLC0415  (0.3 s, and an extra)

        _State.spans, _State.stop = sdk.exporting(found.otel_service_name or "tunehook-api")


def start_handing_over(found: Settings) -> Callable[[], None] | None:
    """Starts tracing in the parent of processes that fork for each step. Returns what a child of it has to run.

    Spans are handed over to that child as they end, in some 50 µs, and it sends them: so a step waits for no collector,
    and one that is killed loses the spans alone that it has begun. None when off.
    """
    if not found.otel_endpoint:
        return None
    _require()
    from tunehook.telemetry import handover  # noqa: PLC0415

    _State.spans, collect, _State.stop = handover.handing_over(found.otel_service_name or "tunehook-worker")
    return collect


def stop() -> None:
    """Sends what is left, within two seconds, and ends tracing in this process."""
    if _State.stop:
        _State.stop()
    _State.spans = _State.stop = None


def _require() -> None:
    """Raises SettingsError where tracing is asked for and the packages that it needs are not installed."""
    try:
        import opentelemetry.exporter.otlp.proto.http  # noqa: F401, PLC0415
    except ImportError as error:
        why = "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: pip install 'tunehook[otel]'"
        raise SettingsError(why=why) from error
