"""What of the service a moment was spent for, told by who stands in the stack.

The innermost frame that has a duty decides, so that a library's time is booked to whoever asked it, and a thread's
waiting to whoever the thread belongs to. What belongs to nobody is the event loop's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

DUTIES: Final[Mapping[str, Sequence[str]]] = {
    "broker: take and acknowledge": (
        "scraper/broker/",
        "aio_pika/",
        "aiormq/",
        "pamqp/",
        "asyncio/streams.py:",  # aiormq's
    ),
    "read and check the task": ("scraper/pipeline/task.py:", "scraper/pipeline/schema", "scraper/schemas/"),
    "fetch the page": (
        "scraper/pipeline/address",
        "scraper/pipeline/awake.py:",
        "scraper/pipeline/charset.py:",
        "scraper/pipeline/content_types.py:",
        "scraper/pipeline/fetch",
        "scraper/pipeline/host_turns.py:",
        "scraper/pipeline/responses.py:",
        "scraper/pipeline/robots.py:",
        "scraper/unpack.py:",
        "thread: host-turns",
        "thread: resolve",
    ),
    "clean the page": (
        "scraper/pipeline/children.py:",
        "scraper/pipeline/clean",
        "scraper/pipeline/elements.py:",
        "scraper/pipeline/head.py:",
        "scraper/pipeline/isolation.py:",
        "scraper/pipeline/nesting.py:",
        "scraper/pipeline/outline.py:",
        "scraper/pipeline/style_sheets.py:",
        "scraper/pipeline/visibility.py:",
        "scraper/pipeline/writer.py:",
    ),
    "data the page says itself": ("scraper/pipeline/structured/",),
    "ask the model: prompt and request": (
        "scraper/llm_client.py:",
        "scraper/llm_errors.py:",
        "scraper/llm_serve",
        "scraper/server_address.py:",
        "scraper/pipeline/budget.py:",
        "scraper/pipeline/context_window.py:",
        "scraper/pipeline/conversation.py:",
        "scraper/pipeline/fitting.py:",
        "scraper/pipeline/ladder.py:",
        "scraper/pipeline/model.py:",
        "scraper/pipeline/parts.py:",
        "scraper/pipeline/prompt.py:",
        "scraper/pipeline/relevance.py:",
        "scraper/pipeline/terms.py:",
    ),
    "ask the model: send and read the stream": (
        "scraper/http_connection.py:",
        "scraper/llm_attempt.py:",
        "scraper/llm_body.py:",
        "scraper/llm_runaway.py:",
        "scraper/llm_stream.py:",
        "scraper/llm_transport.py:",
    ),
    "throttle: never flood the GPU": ("scraper/throttle/", "scraper/census.py:", "scraper/host.py:"),
    "check and ground the answer": (
        "scraper/pipeline/grounded.py:",
        "scraper/pipeline/grounding/",
        "scraper/pipeline/validate.py:",
    ),
    "store: lose nothing, ask nothing twice": (
        "scraper/database.py:",
        "scraper/pipeline/answer_once.py:",
        "scraper/rows.py:",
        "scraper/shelf.py:",
        "scraper/sqlite_thread.py:",  # its commits, which the embedded queue shares, and its waiting
        "scraper/store/",
        "scraper/write_ahead.py:",
        "thread: sqlite",
    ),
    "logs and metrics": (
        "scraper/app.py:work.<locals>.observe",
        "scraper/events.py:",
        "scraper/lifeline.py:",
        "scraper/observability/",
        "scraper/trace.py:",
        "scraper/trace_context.py:",
    ),
    "order of the work": (
        "scraper/deadline.py:",
        "scraper/pipeline/__init__.py:",
        "scraper/pipeline/extract.py:",
        "scraper/settle.py:",
        "scraper/worker.py:",
    ),
}
OTHERWISE: Final = "event loop and the rest"
RUNS_THE_LOOP: Final = (
    "scraper/app.py:",
    "scraper/commands/",
    "scraper/config.py:",
    "scraper/event_loop.py:",
    "scraper/exit_codes.py:",
    "scraper/lean_imports.py:",
    "scraper/main.py:",
)
FOR_WHOEVER_CALLS: Final = (
    "scraper/credentials.py:",
    "scraper/errors.py:",
    "scraper/json_text.py:",
    "scraper/models.py:",
    "scraper/patience.py:",
    "scraper/pipeline/one_line.py:",
    "scraper/ports.py:",
    "scraper/terminal_text.py:",
    "scraper/trail.py:",
)


def duty_of(stack: Sequence[str]) -> str:
    """Of the frames `file:function`, innermost first, behind which stands `thread: name`."""
    return next((duty for frame in stack if (duty := own_duty(frame)) is not None), OTHERWISE)


def own_duty(frame: str) -> str | None:
    """What the code of one frame is there for; None for code that serves whoever calls it."""
    for duty, beginnings in DUTIES.items():
        if frame.startswith(tuple(beginnings)):
            return duty
    return OTHERWISE if frame.startswith(RUNS_THE_LOOP) else None
