"""Traces over both real brokers and the real store, into OpenTelemetry's own in-memory exporter."""

import json
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from scraper.errors import Permanent, Transient
from scraper.models import ParkReason
from scraper.observability.traces import Traces
from scraper.ports import Message
from scraper.trace_context import as_traceparent, derived, parts
from tests.broker.conftest import place  # noqa: F401 a fixture
from tests.test_worker import ScriptedPipeline, a_bench  # noqa: F401 the second is a fixture

FOREIGN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def spans():
    return InMemorySpanExporter()


@pytest.fixture
def traces(spans):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    traces = Traces(provider)
    yield traces
    traces.close()


def of(spans, name):
    return [span for span in spans.get_finished_spans() if span.name == name]


class Stepping(ScriptedPipeline):
    async def run(self, task, *, trace, **options):
        trace.enter("fetch")
        trace.enter("clean")
        return await super().run(task, trace=trace, **options)


async def put(bench, task_id, *, traceparent=""):
    await bench.broker.publish([Message(json.dumps({"id": task_id}).encode(), task_id, traceparent=traceparent)])


async def test_a_task_is_one_trace_from_its_submission_over_every_delivery(bench, spans, traces):
    await put(bench, "a", traceparent=traces.submitted("a"))
    async with bench.working(Stepping(a=[Transient("the site is away"), {"ok": 1}]), record=[traces.record]):
        await bench.until_settled(2)
    [submitted] = of(spans, "submit")
    tasks = of(spans, "task")
    assert [task.attributes["scraper.outcome"] for task in tasks] == ["retry", "done"]
    assert [task.attributes["scraper.attempt"] for task in tasks] == [1, 2]
    assert {task.context.trace_id for task in tasks} == {submitted.context.trace_id}
    assert {task.parent.span_id for task in tasks} == {submitted.context.span_id}
    assert [task.status.status_code for task in tasks] == [StatusCode.ERROR, StatusCode.UNSET]


async def test_every_step_is_a_span_inside_its_delivery(bench, spans, traces):
    await put(bench, "a", traceparent=FOREIGN)
    async with bench.working(Stepping(), record=[traces.record]):
        await bench.until_settled(1)
    [task] = of(spans, "task")
    steps = [span for span in spans.get_finished_spans() if span is not task]
    assert {"fetch", "clean", "store"} >= {step.name for step in steps} >= {"clean", "store"}
    assert {step.parent.span_id for step in steps} == {task.context.span_id}
    assert all(task.start_time <= step.start_time <= step.end_time <= task.end_time for step in steps)
    assert sum(step.end_time - step.start_time for step in steps) == pytest.approx(
        task.end_time - task.start_time, rel=0.02, abs=2_000_000
    )
    assert f"{task.context.trace_id:032x}" == FOREIGN.split("-")[1]


async def test_a_task_that_came_without_a_trace_has_one_all_the_same(bench, spans, traces):
    await put(bench, "a")
    async with bench.working(
        ScriptedPipeline(a=[Transient("x"), Permanent(ParkReason.ROBOTS, "no")]), record=[traces.record]
    ):
        await bench.until_settled(2)
    assert {task.context.trace_id for task in of(spans, "task")} == {parts(derived("a", 0))[0]}
    assert [task.attributes["scraper.reason"] for task in of(spans, "task")] == ["x", "robots"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "",
        "00-0-0-01",
        FOREIGN.upper(),
        f"{FOREIGN}-x",
        FOREIGN.replace("00f067aa0ba902b7", "0" * 16),
        FOREIGN.replace("00-4b", "ff-4b"),
    ],
)
def test_what_is_no_context_counts_as_absent(value):
    assert as_traceparent(value) == ""
    assert as_traceparent(FOREIGN) == FOREIGN


def test_derived_contexts_are_valid_and_differ_by_task_and_submission():
    made = {derived(task, submission) for task in ("a", "b", "\udc80") for submission in (0, 1)}
    assert len(made) == 6
    assert {as_traceparent(each) for each in made} == made


def test_off_imports_nothing_of_it():
    worker = "import scraper.main, scraper.app, scraper.worker, scraper.observability.logs, scraper.broker.sqlite, scraper.llm_client, sys"
    loaded = subprocess.run(
        [sys.executable, "-c", f"{worker}; print(*sys.modules)"], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert not [
        name for name in loaded if name.startswith(("opentelemetry", "starlette", "uvicorn", "prometheus_client"))
    ]
