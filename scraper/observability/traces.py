"""OpenTelemetry: one trace a task over the queue, a span for each delivery and one for each of its steps.

Imports OpenTelemetry, so only a process whose TRACES is on imports this. Where spans go, and how many of them, is what
OpenTelemetry's own OTEL_* variables say.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from scraper import __version__
from scraper.ports import Message
from scraper.trace import Phase
from scraper.trace_context import derived, parts

_FAILED = {"park", "retry", "lost"}


class Traces:
    """Makes the spans of one process. `clock` is the one that steps are timed by."""

    def __init__(self, provider: TracerProvider, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("scraper", __version__)
        self._clock = clock

    def record(self, message: Message) -> TaskSpans:
        """The record of one delivery, in the trace of its task."""
        traceparent = message.traceparent or derived(message.task_id, message.submission)
        trace_id, span_id, flags = parts(traceparent)
        parent = NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags)))
        return TaskSpans(self._tracer, parent, attempt=message.attempts + 1, clock=self._clock)

    def submitted(self, task_id: str) -> str:
        """Begin the trace of a task that is put into the queue; what to send along with it."""
        span = self._tracer.start_span("submit", kind=SpanKind.PRODUCER, attributes={"scraper.task_id": task_id})
        span.end()
        context = span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


class TaskSpans:
    """`trace.Record`: a span for the delivery, and one for each step inside it."""

    def __init__(self, tracer: otel.Tracer, parent: otel.Span, *, attempt: int, clock: Callable[[], float]) -> None:
        self._tracer = tracer
        self._epoch_ns = time.time_ns() - round(clock() * 1e9)
        self._span = tracer.start_span(
            "task",
            context=otel.set_span_in_context(parent),
            kind=SpanKind.CONSUMER,
            attributes={"scraper.attempt": attempt},
            start_time=self._ns(clock()),
        )
        self._inside = otel.set_span_in_context(self._span)
        self._last_ns = self._ns(clock())

    def step(self, phase: Phase, began: float, ended: float) -> None:
        span = self._tracer.start_span(phase, context=self._inside, start_time=self._ns(began))
        self._last_ns = self._ns(ended)
        span.end(self._last_ns)

    def settled(self, task_id: str, outcome: str, reason: str) -> None:
        self._span.set_attributes(
            {"scraper.task_id": task_id, "scraper.outcome": outcome, "scraper.reason": reason[:200]}
        )
        if outcome in _FAILED:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(self._last_ns)

    def _ns(self, moment: float) -> int:
        return self._epoch_ns + round(moment * 1e9)


def exporting() -> Traces:
    """Spans over OTLP/HTTP, to where OTEL_EXPORTER_OTLP_ENDPOINT says. Raises ImportError without the extra."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 tests have their own

    provider = TracerProvider(resource=Resource.create({"service.name": "scraper", "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)
