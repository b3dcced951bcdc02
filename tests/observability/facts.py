"""Events and log lines for the tests of those who render them."""

import json
from datetime import UTC, datetime

from scraper.events import LlmRequest, LlmSuccess, TaskReceived, TaskSettled, WorkerStarted

STARTED = WorkerStarted(
    consumers=3, broker="sqlite:///x.db", model_server="http://m/v1", max_concurrent=2, requests_per_minute=20
)


def settled(outcome="done", reason="", task_id="t", **timings):
    return TaskSettled(task_id, outcome, reason, 1, 1, 10, 5, 0, timings, sum(timings.values()))


def received(task_id="t"):
    return TaskReceived(task_id, 1, 0)


def request():
    return LlmRequest(1, 1024, 5000)


def answer(seconds=3.0, first_token_s=0.2, tokens=60):
    return LlmSuccess(1, seconds, first_token_s, 1000, tokens, 0, "stop")


def line(event, *, at, pid=1, **more):
    """As `logs` writes it."""
    fields = {name: getattr(event, name) for name in event.__dataclass_fields__ if name not in {"name", "level"}}
    stamp = datetime.fromtimestamp(at, UTC).isoformat()
    return json.dumps({"pid": pid, "level": event.level, **fields, **more, "event": event.name, "timestamp": stamp})
