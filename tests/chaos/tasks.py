"""What goes in: good pages, and with them the poison that must be found in the end, parked, each kind with its reason."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from scraper.testing.site import SimulatedSite
from tests.chaos.audit import DONE
from tests.chaos.broken_parser import KILLING

PAGE_SECRET = "planted-page-text-9f31c7"
PROMPT_SECRET = "planted-instructions-52ab08"
BODY_SECRET = "planted-body-text-c04e11"

TASK_MAX_BYTES = 8 * 1024 * 1024
_FETCHED = 4  # one task in so many names a page of the site, which costs most to make; the others bring theirs along
_HEAVY = 3  # of those kinds that cost seconds or megabytes each, at most so many in a run
_MOST_KILLERS = 6  # each costs two workers, and a worker that dies often is started again ever later


@dataclass(frozen=True, slots=True)
class Poison:
    """One kind of task that can never be done."""

    reason: str
    why: str
    heavy: bool = False


POISON = {
    "killer": Poison("crash_loop", "a page that kills whatever process parses it", heavy=True),
    "bad-json": Poison("bad_task", "a body that is no JSON"),
    "wrong-types": Poison("bad_task", "fields of the wrong type"),
    "impossible-schema": Poison("bad_schema", "a schema that nothing can be checked with"),
    "too-large": Poison("too_large", "a body of ten megabytes", heavy=True),
    "parser-bomb": Poison("crash_loop", "a page of 56 kB that a real parser needs gigabytes for", heavy=True),
}


@dataclass(frozen=True, slots=True)
class Given:
    """Everything that goes in. `lines` for `submit`, `bodies` as a stranger publishes them, `expected` by task id."""

    lines: list[str]
    bodies: list[bytes]
    expected: dict[str, str]


def given(count: int, *, site: SimulatedSite, poison: bool, seed: int) -> Given:
    """`count` tasks, with `poison` 5 % of them poison."""
    kinds = list(_poisoned(count // 20)) if poison else []
    expected: dict[str, str] = {}
    lines, bodies = [], []
    for number in range(1, count - len(kinds) + 1):
        task = _good(number, site)
        expected[task["task_id"]] = DONE
        lines.append(json.dumps(task))
    for number, kind in enumerate(kinds):
        body = _poison(kind, number, random.Random(f"{seed}/{number}"))
        expected[_id_of(body)] = POISON[kind].reason
        bodies.append(body)
    return Given(lines, bodies, expected)


def _good(number: int, site: SimulatedSite) -> dict[str, Any]:
    task = {"task_id": f"task-{number}", "schema": "product", "instructions": f"the price alone ({PROMPT_SECRET})"}
    if number % _FETCHED == 0:
        return task | {"url": site.url(f"/product/{number}")}
    shown = f"<h1>Kettle {number}</h1><p>Price: $ 19.90</p><p>SKU: KT-{number}</p><p>{PAGE_SECRET}</p>"
    return task | {"html": f"<!DOCTYPE html><title>Kettle {number}</title>{shown}"}


def _poisoned(count: int) -> Iterator[str]:
    """Kinds in turn; the heavy ones only a few times, and of those that kill workers only so many as can be mourned."""
    times = dict.fromkeys(POISON, 0)
    while sum(times.values()) < count:
        for kind, poison in POISON.items():
            most = _MOST_KILLERS if kind == "killer" else _HEAVY
            if sum(times.values()) < count and not (poison.heavy and times[kind] >= most):
                times[kind] += 1
                yield kind


def _poison(kind: str, number: int, draw: random.Random) -> bytes:
    task: Mapping[str, Any] = {"task_id": f"{kind}-{number}", "schema": "product"}
    match kind:
        case "bad-json":
            whole = json.dumps({**task, "html": f"<p>{BODY_SECRET}"})
            return whole[: -draw.randrange(1, 9)].encode()
        case "wrong-types":
            return json.dumps({**task, "url": number, "html": [BODY_SECRET]}).encode()
        case "impossible-schema":
            nothing = {"type": "object", "properties": {"name": {"type": "string", "pattern": "(["}}}
            return json.dumps({**task, "html": f"<p>{BODY_SECRET}</p>", "schema": nothing}).encode()
        case "too-large":
            return json.dumps({**task, "html": BODY_SECRET * (10 * 1024 * 1024 // len(BODY_SECRET))}).encode()
        case "parser-bomb":
            return json.dumps({**task, "html": bomb(3000, 3000)}).encode()
        case _:
            return json.dumps({**task, "html": f"<h1>Kettle</h1><p>{KILLING} {BODY_SECRET}</p>"}).encode()


def bomb(formatting: int, paragraphs: int) -> str:
    """A page on which HTML itself asks for `formatting` × `paragraphs` elements.

    What is still bold when a paragraph ends is bold in the next one, by an element of its own in each.
    """
    opened = "".join(f"<b id={number}>" for number in range(formatting))
    return f"<!DOCTYPE html><title>Bold</title><p>{opened}</p>{'<p>x</p>' * paragraphs}"


def _id_of(body: bytes) -> str:
    """The id that a body brings along; one that no task can be read from is named after its bytes."""
    name = f"body-{sha256(body).hexdigest()[:16]}"
    if len(body) > TASK_MAX_BYTES:
        return name
    try:
        task = json.loads(body)
    except ValueError:
        return name
    return task["task_id"] if isinstance(task.get("html"), str) and not task.get("url") else name
