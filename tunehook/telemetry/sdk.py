"""Spans by OpenTelemetry's SDK, as OTLP over HTTP. The SDK reads all `OTEL_…` variables but the two of settings.py."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Thread

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tunehook.telemetry import Kind, Value

#: So long a process waits at its end for a collector that does not answer.
STOP_SECONDS = 2.0
_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_w3c = TraceContextTextMapPropagator()


class SdkSpans:
    """`Spans` of telemetry, on a provider of its own: no other library's spans come with them."""

    def __init__(self, processor: SpanProcessor, service_name: str) -> None:
        provider = TracerProvider(resource=Resource.create({"service.name": service_name}), shutdown_on_exit=False)
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("tunehook")
        for handler in logging.getLogger().handlers:
            handler.addFilter(self._add_trace_id)

    @contextmanager
    def span(
        self, name: str, job: str | None, *, first: bool, kind: Kind, links: Iterable[str | None]
    ) -> Iterator[None]:
        around, of_job = trace.get_current_span().get_span_context(), _context_of(job)
        parent, linked = None, [one for one in map(_context_of, links) if one]
        if of_job and (first or not of_job.trace_flags.sampled):  # not recorded: no later try is either
            parent = trace.set_span_in_context(NonRecordingSpan(of_job), Context())
        elif of_job:
            parent = Context()
            linked.insert(0, of_job)
        if of_job and around.is_valid and around.trace_id != of_job.trace_id:
            linked.append(around)
        with self._tracer.start_as_current_span(
            name,
            context=parent,
            kind=_KINDS[kind],
            links=[Link(one) for one in linked],
            record_exception=False,
            set_status_on_exception=False,
        ) as made:
            try:
                yield
            except BaseException as error:
                made.set_attribute("error.type", type(error).__name__)
                made.set_status(Status(StatusCode.ERROR))
                raise

    def describe(self, **attributes: Value) -> None:
        current = trace.get_current_span()
        for name, value in attributes.items():
            if value is not None:
                current.set_attribute(f"tunehook.{name}", value)

    def link(self, traceparent: str) -> None:
        if context := _context_of(traceparent):
            trace.get_current_span().add_link(context)

    def current(self) -> str | None:
        carrier: dict[str, str] = {}
        _w3c.inject(carrier)
        return carrier.get("traceparent")

    def _add_trace_id(self, record: logging.LogRecord) -> bool:
        """A filter of log handlers that lets everything pass."""
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            record.fields = {**getattr(record, "fields", {}), "trace_id": f"{context.trace_id:032x}"}
        return True


def exporting(service_name: str) -> tuple[SdkSpans, Callable[[], None]]:
    """Returns spans that a thread of this process sends in batches, and what ends that."""
    processor = batches()
    return SdkSpans(processor, service_name), lambda: end(processor)


def batches() -> BatchSpanProcessor:
    """Returns what keeps up to 2048 spans, and sends them every five seconds; later ones are dropped."""
    return BatchSpanProcessor(OTLPSpanExporter())


def end(processor: SpanProcessor) -> None:
    """Sends what is left, within `STOP_SECONDS`."""
    ending = Thread(target=processor.shutdown, daemon=True)
    ending.start()
    ending.join(STOP_SECONDS)


def _context_of(traceparent: str | None) -> SpanContext | None:
    """Returns what a `traceparent` names; None for one that is not valid."""
    if not traceparent:
        return None
    context = trace.get_current_span(_w3c.extract({"traceparent": traceparent}, Context())).get_span_context()
    return context if context.is_valid else None
