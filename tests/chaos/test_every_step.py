"""SIGKILL behind the first step of a life, behind the second, and so on to its last; each time a second life follows.

Random kills find what is frequent. This visits each moment of each kind of task: taken, run, stored, published, copied,
acknowledged, parked, parked beside an older result, replayed. See `mortal`.
"""

import asyncio
import contextlib
import inspect
import itertools
import json
import multiprocessing
import re
import secrets
import signal

import aio_pika
import pytest

from scraper.broker.sqlite_queue import QueueFile
from scraper.ports import Message
from scraper.rows import body_id
from tests.chaos.mortal import LOOK_SECONDS, STEPS, Place, live
from tests.chaos.witnesses import call_witness, statement_of
from tests.store.results import done, query

LANES = 4  # most of a life is waiting
HANGS_SECONDS = 300
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.chaos.mortal"])


def body(task_id, first, then=None, **more):
    return json.dumps({"id": task_id, "first": first, "then": then or first, **more}).encode()


GARBAGE = b"{no task"
AGAIN = body("again", "page_gone")
DUPLICATE = body("duplicate", "done", content="other")
MESSAGES = [
    Message(body("good", "done"), "good"),
    Message(body("gone", "page_gone"), "gone"),
    Message(body("shaky", "retry", "done"), "shaky"),
    Message(body("spent", "retry"), "spent"),
    Message(body("held", "hold", "done"), "held"),
    Message(GARBAGE),
    Message(body("foreign", "done")),
    Message(body("foreign-gone", "page_gone")),
    Message(AGAIN, "again", submission=7),
    Message(DUPLICATE, "duplicate"),
    Message(body("priced", "schema_invalid"), "priced"),
    Message(body("stubborn", "schema_invalid", with_page="model_refused"), "stubborn"),
]
DONE_BEFORE = ("again", "duplicate")
HISTORIES = {  # of each row, told by the runs of its task and by what the store took; and its attempts at the end
    "good": ("run+ done", 1),
    "gone": ("run+ page_gone", 1),
    "shaky": ("run+ run+ done", "1 or 2"),  # a life may end before the first failure is told to the broker
    "spent": ("run+ run+ attempts", 2),
    "held": ("run+ run+ done", 1),
    body_id(GARBAGE): ("bad_task", 1),
    "foreign": ("run+ done", 1),
    "foreign-gone": ("run+ page_gone", 1),
    "again": ("run+", 0),
    body_id(AGAIN): ("page_gone", 1),
    body_id(DUPLICATE): ("duplicate_id", 1),
    "priced": ("run+ schema_invalid run+ done", 1),
    "stubborn": ("run+ schema_invalid run+ model_refused", 1),
}
ENDS = {name: history.split()[-1] for name, (history, _) in HISTORIES.items()} | dict.fromkeys(DONE_BEFORE, "done")


RUNS = sum(history.count("run") for history, _ in HISTORIES.values())


async def prepared(place):
    async with place.store() as store, place.broker() as broker:
        for name in DONE_BEFORE:
            await store.save(done(name, content_sha256="same"))
        call_witness(place.results)
        await broker.publish(MESSAGES)


async def lived(*arguments, **named):
    """The exit code of a process that did it. Asked for on one thread only: two that ask tread on each other's toes."""
    process = PROCESSES.Process(target=live, args=arguments, kwargs=named)
    process.start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HANGS_SECONDS):
            while process.exitcode is None:  # noqa: ASYNC110 another process ends it
                await asyncio.sleep(LOOK_SECONDS)
            return process.exitcode
    process.kill()
    return "it took too long"


async def published(place):
    """The ids in the results queue, which is empty then; the embedded queue has none."""
    found = set()
    if place.kind == "sqlite":
        return found
    async with await aio_pika.connect(place.target) as connection, connection.channel() as channel:
        queue = await channel.get_queue(f"{place.namespace}.results")
        while (message := await queue.get(no_ack=True, fail=False)) is not None:
            found.add(message.body.decode())
    return found


def wrong(place, told):
    """Whatever is not as it must be, whenever a life ended."""
    histories, attempts = {}, {}
    for each in statement_of(place.results):
        histories.setdefault(each.task_id, []).append(each.end)
        attempts[each.task_id] = each.attempts
    for name in sorted(HISTORIES.keys() | histories.keys()):
        history, spent = " ".join(histories.get(name, [])), attempts.get(name)
        must, at = HISTORIES.get(name, ("nothing", 0))
        if not re.fullmatch(must.replace("run+ ", "(run )+").replace("run+", "(run ?)+"), history) or str(
            spent
        ) not in str(at):
            yield f"{name}: {history} at attempt {spent}, expected: {must} at attempt {at}"
    runs = sum(history.count("run") for history in histories.values())
    if not RUNS <= runs <= RUNS + 1:
        yield f"{runs} runs: only that of the task in hand may be repeated, and {RUNS} are needed"
    ends = dict(query(place.results, "SELECT task_id, ifnull(reason, 'done') FROM results_rows"))
    if ends != ENDS:
        yield f"ended as {ends}"
    pages = query(place.results, "SELECT data FROM results_rows WHERE task_id = 'priced'")
    if pages != [('{"page":true}',)]:
        yield f"the replay did not read the stored page: {pages}"
    if (waiting := query(place.results, "SELECT task_id FROM results_submitted")) != []:
        yield f"taken for waiting: {waiting}"
    needed = {name for name, end in ENDS.items() if end == "done"} - set(DONE_BEFORE)
    if place.kind == "rabbitmq" and told != needed:
        yield f"results published for {sorted(told)}"


def test_whatever_changes_the_embedded_queue_for_others_is_a_step():
    public = {name for name, _ in inspect.getmembers(QueueFile, inspect.isfunction) if not name.startswith("_")}
    about_this_process_alone = {"open", "leave", "give_back", "renew", "count_consumers", "depth"}
    assert {name for owner, name in STEPS if owner is QueueFile} == public - about_this_process_alone


@pytest.mark.parametrize("kind", ["sqlite", "rabbitmq"])
async def test_wherever_a_life_ends_the_next_one_finds_every_task_and_repeats_nothing_that_ended(
    kind, tmp_path, request
):
    target = request.getfixturevalue("rabbitmq_url") if kind == "rabbitmq" else ""
    namespaces = [f"step-{secrets.token_hex(4)}" for _ in range(LANES)]
    numbers, whole, told = itertools.count(1), [], []

    async def lane(namespace):
        while not whole:
            number = next(numbers)
            place = Place(kind, target or str(tmp_path / f"{number}.db"), namespace, tmp_path / f"{number}-rows.db")
            await prepared(place)
            code = await lived(place, die_at=number, ends=ENDS)
            if code == 0:
                whole.append(number)
            elif (codes := (code, await lived(place, die_at=0, ends=ENDS))) != (-signal.SIGKILL, 0):
                told.append(f"killed behind step {number}: one life ended with {codes[0]}, the next with {codes[1]}")
            told.extend(f"killed behind step {number}: {each}" for each in wrong(place, await published(place)))

    await asyncio.gather(*map(lane, namespaces))
    print(f"\n{kind}: {min(whole) - 1} lives ended early")
    assert told == []
    assert min(whole) > 4 * len(MESSAGES)  # taken, stored, published or copied, acknowledged
