"""The embedded queue itself, synchronous: what one process does with a file that it shares with others.

| a message is | becomes | when                                                                                 |
|--------------|---------|--------------------------------------------------------------------------------------|
| –            | ready   | published                                                                            |
| ready        | leased  | taken: high before normal, then the oldest                                           |
| leased       | gone    | acknowledged                                                                         |
| leased       | waiting | moved with a delay: high from now on, its returns forgotten                          |
| leased       | ready   | moved without one; or given back by its owner or for it, with one more return: as a  |
|              |         | dead letter once those exceed the delivery limit                                     |
| waiting      | ready   | due                                                                                  |

Leases are the business of sqlite_leases.py. Settling with one that is no longer in the row changes nothing and says so.

The queue's clock is the host's time since boot plus a base in the file. After a restart of the host the base moves up
to the latest time written down anywhere, so that everything is due and every lease has run out, without touching a row.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from scraper.broker.sqlite_file import SharedFile
from scraper.broker.sqlite_leases import IDLE_SECONDS, GivenBack, Lease, Leases, give_back
from scraper.broker.sqlite_schema import LEASED, READY, WAITING
from scraper.database import DatabaseFile
from scraper.errors import Unavailable
from scraper.host import boot_clock, boot_id
from scraper.models import Trail
from scraper.ports import WAIT_SECONDS, Depth, Message, QueueName
from scraper.trail import from_text, to_text

PROMOTED_AT_ONCE = 100  # a million messages due at once must not make one taker wait

TAKE = """
    SELECT m.id, m.urgency, m.attempts, m.returns, m.submission, m.task_id, m.stored_page, m.trail, m.traceparent,
        b.body
    FROM queue_messages m CROSS JOIN queue_bodies b ON b.id = m.id
    WHERE m.state = 0 AND m.queue = ? ORDER BY m.urgency, m.id LIMIT ?
"""
PROMOTE = """
    UPDATE queue_messages SET state = 0, due = NULL WHERE id IN (
        SELECT id FROM queue_messages WHERE state = 1 AND due <= ? ORDER BY due LIMIT ?)
"""
ANY_READY = "SELECT 1 FROM queue_messages WHERE state = 0 AND queue = ? LIMIT 1"
NEXT_DUE = "SELECT min(due) FROM queue_messages WHERE state = 1"
LATEST = """
    SELECT coalesce((SELECT max(due) FROM queue_messages WHERE state = 1), 0.0),
        coalesce((SELECT max(until) FROM queue_owners), 0.0)
"""
_PUBLISH = """
    INSERT INTO queue_messages
        (id, queue, state, urgency, attempts, submission, task_id, stored_page, trail, traceparent)
    VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?)
"""
_MOVE = """
    UPDATE queue_messages SET queue = ?, state = ?, due = ?, urgency = 0, attempts = ?, trail = ?, submission = ?,
        returns = 0, owner = NULL, token = NULL
    WHERE id = ? AND token = ?
"""
_LARGEST = 1 << 62  # so that a database can still count on
_LEASE = "UPDATE queue_messages SET state = 2, owner = ?, token = ? WHERE id = ?"


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that this process has the lease of."""

    lease: Lease
    queue: QueueName
    message: Message
    returns: int


class QueueFile:
    """One process's hold on the queue. All methods on one thread; each raises Unavailable and then has done nothing.

    Publishing, removing and moving are on the disk before they return. Taking and giving back are not: after a loss
    of power the message is ready again, which is where it belongs.
    """

    def __init__(
        self,
        file: DatabaseFile,
        *,
        namespace: str,
        clock: Callable[[], float] = boot_clock,
        boot: str | None = None,
    ) -> None:
        self._namespace = namespace
        self._clock = clock
        self._boot = boot_id() if boot is None else boot
        self._file = SharedFile(file)
        self._leases = Leases(self._file)
        self._base = 0.0
        self._queues: dict[QueueName, int] = {}
        self._version = (-1, -1)
        self._next_due: float | None = None
        self._ready: set[QueueName] = set()

    def open(self) -> None:
        """Make or check the file. Raises Misconfigured, or Unavailable while another program locks it."""
        with self._file.opening() as db:
            self._queues = _named_queues(db, self._namespace)
            self._base = _base_of_clock(db, self._boot, self._clock())
            self._leases.enter(db, self._queues["tasks"], now=self._now())

    def leave(self) -> None:
        """Give back what is still in hand, where that is possible."""
        with suppress(Unavailable):
            self._leases.leave()

    def publish(self, messages: Sequence[Message]) -> None:
        with self._file.writing(durable=True) as db:
            (last,) = db.execute("SELECT coalesce(max(id), 0) FROM queue_messages").fetchone()
            db.executemany(
                "INSERT INTO queue_bodies (id, body) VALUES (?, ?)",
                [(place, message.body) for place, message in enumerate(messages, last + 1)],
            )
            db.executemany(_PUBLISH, [self._row(place, each) for place, each in enumerate(messages, last + 1)])

    def take(self, wanted: Mapping[QueueName, int]) -> list[Taken]:
        """Up to so many of each queue. Next to nothing is read while nothing has changed since the last call."""
        now = self._now()
        self._leases.look_after_the_others(now)
        due = self._anything_due(now)
        found = {queue: count for queue, count in wanted.items() if due or queue in self._ready}
        if not found:
            return []
        with self._file.writing() as db:
            if due:
                db.execute(PROMOTE, (now, PROMOTED_AT_ONCE))
            return self._leased(db, found, now=now)

    def remove(self, lease: Lease) -> bool:
        """Whether the lease still held; only then is the message gone."""
        with self._file.writing(durable=True) as db:
            return _removed(db, lease)

    def remove_and_take(self, lease: Lease, queue: QueueName) -> tuple[bool, Taken | None]:
        """As `remove`; and the next message of `queue`, for half of what the two cost one after the other."""
        now = self._now()
        self._leases.look_after_the_others(now)
        with self._file.writing(durable=True) as db:
            removed = _removed(db, lease)
            db.execute(PROMOTE, (now, PROMOTED_AT_ONCE))
            taken = self._leased(db, {queue: 1}, now=now)
        return removed, taken[0] if taken else None

    def move(
        self, lease: Lease, *, delay_seconds: float, attempts: int, trail: Trail = (), submission: int = 0
    ) -> bool:
        """Into the tasks queue after `delay_seconds`. Whether the lease still held; only then is it moved."""
        state, due = (WAITING, self._now() + delay_seconds) if delay_seconds > 0 else (READY, None)
        told = (attempts, to_text(trail), submission)
        with self._file.writing(durable=True) as db:
            moved = db.execute(
                _MOVE, (self._queues["tasks"], state, due, *told, lease.message_id, lease.token)
            ).rowcount
        return moved == 1

    def give_back(self, given: Sequence[GivenBack]) -> None:
        """What of it is still leased is ready again, at its old place."""
        with self._file.writing() as db:
            give_back(db, given)

    def renew(self) -> None:
        """Keep what is in hand; due every `RENEW_SECONDS`."""
        self._leases.renew(self._now())

    def count_consumers(self, consumers: int) -> None:
        """Say how many consumers of this process are on the tasks queue."""
        self._leases.count_consumers(consumers, now=self._now())

    def depth(self) -> Depth:
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT queue, state, messages FROM queue_depths WHERE queue IN (?, ?)", tuple(self._queues.values())
            ).fetchall()
            consumers = self._leases.consumers(db, now=self._now())
        messages = {(queue, state): count for queue, state, count in rows}
        tasks, parked = self._queues["tasks"], self._queues["parked"]
        return Depth(
            tasks=messages[tasks, READY],
            waiting=messages[tasks, WAITING],
            parked=messages[parked, READY],
            consumers=consumers,
            in_hand=messages[tasks, LEASED] + messages[parked, LEASED],
        )

    def _leased(self, db: sqlite3.Connection, wanted: Mapping[QueueName, int], *, now: float) -> list[Taken]:
        taken: list[Taken] = []
        for queue, count in wanted.items():
            taken += [_taken(queue, row) for row in db.execute(TAKE, (self._queues[queue], count)).fetchall()]
        db.executemany(_LEASE, [(self._leases.owner, each.lease.token, each.lease.message_id) for each in taken])
        if taken:
            self._leases.cover(db, now)
        return taken

    def _row(self, place: int, message: Message) -> tuple[object, ...]:
        return (
            place,
            self._queues["tasks"],
            int(message.priority != "high"),
            message.attempts,
            message.submission,
            message.task_id,
            message.stored_page,
            to_text(message.trail),
            message.traceparent,
        )

    def _now(self) -> float:
        return self._base + self._clock()

    def _anything_due(self, now: float) -> bool:
        """Whether messages have waited long enough. Looks which queues have ready ones, if anything was written."""
        with self._file.reading() as db:
            if (version := self._file.version()) != self._version:
                (self._next_due,) = db.execute(NEXT_DUE).fetchone()
                self._ready = {queue for queue, id_ in self._queues.items() if db.execute(ANY_READY, (id_,)).fetchone()}
                self._version = version
        return self._next_due is not None and self._next_due <= now


def _removed(db: sqlite3.Connection, lease: Lease) -> bool:
    deleted = db.execute("DELETE FROM queue_messages WHERE id = ? AND token = ?", (lease.message_id, lease.token))
    return deleted.rowcount == 1


def _taken(queue: QueueName, row: Sequence[object]) -> Taken:
    """A column holds what was written into it, by other programs too: what makes no sense there counts as absent."""
    message_id, urgency, attempts, returns, submission, task_id, stored_page, trail, traceparent, body = row
    message = Message(
        body if isinstance(body, bytes) else str(body).encode(),
        task_id if isinstance(task_id, str) else "",
        _count(attempts),
        _count(submission),
        "normal" if urgency else "high",
        stored_page == 1,
        from_text(trail),
        traceparent if isinstance(traceparent, str) else "",
    )
    return Taken(Lease(cast("int", message_id), secrets.token_bytes(8)), queue, message, _count(returns))


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 < value <= _LARGEST else 0


def _named_queues(connection: sqlite3.Connection, namespace: str) -> dict[QueueName, int]:
    """The queues of `namespace`, made where they are missing. Within a transaction."""
    parked = _named_queue(connection, f"{namespace}.parked", None)
    return {"tasks": _named_queue(connection, f"{namespace}.tasks", parked), "parked": parked}


def _named_queue(connection: sqlite3.Connection, name: str, dead_letters: int | None) -> int:
    connection.execute("INSERT OR IGNORE INTO queue_names (name, dead_letters) VALUES (?, ?)", (name, dead_letters))
    queue: int
    (queue,) = connection.execute("SELECT id FROM queue_names WHERE name = ?", (name,)).fetchone()
    connection.executemany(
        "INSERT OR IGNORE INTO queue_depths VALUES (?, ?, 0)", [(queue, state) for state in (READY, WAITING, LEASED)]
    )
    return queue


def _base_of_clock(connection: sqlite3.Connection, boot: str, clock: float) -> float:
    """What to add to the time since boot. Within a transaction.

    Where a system does not tell its restarts, they show in times that lie further ahead than any can.
    """
    meta = dict(connection.execute("SELECT key, value FROM queue_meta WHERE key IN ('boot', 'base')"))
    base = float(meta.get("base", 0.0))
    due: float
    until: float
    due, until = connection.execute(LATEST).fetchone()
    ahead = max(due - WAIT_SECONDS[-1], until - IDLE_SECONDS) - (base + clock)
    if meta.get("boot") == boot and (boot or ahead <= 0):
        return base
    base = max(base, due - clock, until - clock)
    connection.executemany("INSERT OR REPLACE INTO queue_meta VALUES (?, ?)", [("boot", boot), ("base", base)])
    return base
