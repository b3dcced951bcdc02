"""The embedded queue itself, synchronous: what one process does with a file that it shares with others.

| a message is | it becomes | when |
|--------------|------------|-------------------------------------------------------------------------|
| –            | ready      | published                                                               |
| ready        | leased     | taken: high before normal, then the oldest                              |
| leased       | gone       | acknowledged                                                            |
| leased       | waiting    | moved with a delay: high, and none of its returns kept                  |
| leased       | ready      | moved without one; or given back, or its owner gone or silent: one more return |
| leased       | ready, in the dead-letter queue | its returns exceed the delivery limit                  |
| waiting      | ready      | due                                                                     |

A lease is an owner (one `QueueFile` of a process) and a random token; it runs as long as its owner is heard of. One
statement renews them all. Settling with a token that is no longer in the row changes nothing and says so.

The queue's clock is the host's time since boot plus a base in the file. After a restart of the host the base moves up
to the latest time written down anywhere, so that everything is due and every lease has run out, without touching a row.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scraper.broker.sqlite_process import Process, boot_clock, boot_id, is_gone, this_process
from scraper.broker.sqlite_schema import LEASED, READY, WAITING, away, opened, opening_error
from scraper.errors import Unavailable
from scraper.ports import WAIT_SECONDS, Depth, Message, QueueName

LEASE_SECONDS = 15.0  # DELIVERY.md: as long as RabbitMQ waits for a heartbeat
RENEW_SECONDS = 5.0  # two renewals may fail
IDLE_SECONDS = 60.0  # an owner that holds nothing is only counted as a consumer
LOOK_SECONDS = 1.0  # how often the others' processes are looked at
DELIVERY_LIMIT = 50  # as on RabbitMQ: the 51st return goes to the dead letters
PROMOTED_AT_ONCE = 100  # a million messages due at once must not make one taker wait

TAKE = """
    SELECT m.id, m.urgency, m.attempts, m.returns, m.submission, m.task_id, b.body
    FROM queue_messages m CROSS JOIN queue_bodies b ON b.id = m.id
    WHERE m.state = 0 AND m.queue = ? ORDER BY m.urgency, m.id LIMIT ?
"""
PROMOTE = """
    UPDATE queue_messages SET state = 0, due = NULL WHERE id IN (
        SELECT id FROM queue_messages WHERE state = 1 AND due <= ? ORDER BY due LIMIT ?)
"""
ANY_READY = "SELECT 1 FROM queue_messages WHERE state = 0 AND queue = ? LIMIT 1"
NEXT_DUE = "SELECT min(due) FROM queue_messages WHERE state = 1"
HELD = "SELECT 1 FROM queue_messages WHERE state = 2 AND owner = ? LIMIT 1"
LATEST = """
    SELECT coalesce((SELECT max(due) FROM queue_messages WHERE state = 1), 0.0),
        coalesce((SELECT max(until) FROM queue_owners), 0.0)
"""
_PUBLISH = """
    INSERT INTO queue_messages (id, queue, state, urgency, attempts, submission, task_id) VALUES (?, ?, 0, ?, ?, ?, ?)
"""
_MOVE = """
    UPDATE queue_messages SET queue = ?, state = ?, due = ?, urgency = 0, attempts = ?, returns = 0,
        owner = NULL, token = NULL
    WHERE id = ? AND token = ?
"""
_LEASE = "UPDATE queue_messages SET state = 2, owner = ?, token = ? WHERE id = ?"
_GIVE_BACK = """
    UPDATE queue_messages SET state = 0, owner = NULL, token = NULL,
        returns = CASE WHEN returns + :more > :limit THEN 0 ELSE returns + :more END,
        queue = CASE WHEN returns + :more > :limit
            THEN coalesce((SELECT dead_letters FROM queue_names n WHERE n.id = queue_messages.queue), queue)
            ELSE queue END
"""
_HEARD_OF = """
    INSERT INTO queue_owners (owner, queue, consumers, until, pid, started, pid_namespace) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (owner) DO UPDATE SET consumers = excluded.consumers, until = excluded.until
"""


@dataclass(frozen=True, slots=True)
class Lease:
    message_id: int
    token: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that this process has the lease of."""

    lease: Lease
    queue: QueueName
    message: Message
    returns: int


@dataclass(frozen=True, slots=True)
class GivenBack:
    lease: Lease
    returns: int  # 1 if somebody had it in hand, 0 if nobody got to see it


class QueueFile:
    """One process's hold on the queue. All methods from one thread; each raises Unavailable and then has done nothing.

    Publishing, removing and moving are on the disk before they return. Taking and giving back are not: after a loss
    of power the message is ready again, which is where it belongs.
    """

    def __init__(
        self,
        path: Path,
        *,
        namespace: str,
        clock: Callable[[], float] = boot_clock,
        boot: str | None = None,
        busy_seconds: float = 5.0,
    ) -> None:
        self._path = path
        self._namespace = namespace
        self._clock = clock
        self._boot = boot_id() if boot is None else boot
        self._busy_seconds = busy_seconds
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)
        self._synchronous = ""
        self._owner = secrets.token_bytes(8)
        self._process = this_process()
        self._consumers = 0
        self._base = 0.0
        self._queues: dict[QueueName, int] = {}
        self._until = self._looked = self._may_judge = float("-inf")
        self._version = -1
        self._next_due: float | None = None
        self._ready: set[QueueName] = set()  # as far as is known
        self._changed = True  # by this process, since it last looked what is ready

    def open(self) -> None:
        """Make or check the file; Misconfigured says what is wrong with it."""
        self._connection = opened(self._path, busy_seconds=self._busy_seconds)
        try:
            stat = self._path.stat()
            self._file = (stat.st_dev, stat.st_ino)
            with _transaction(self._connection):
                self._queues = _named_queues(self._connection, self._namespace)
                self._base = _base_of_clock(self._connection, self._boot, self._clock())
                self._until = now = self._now()
                self._be_heard_of(now, IDLE_SECONDS)
        except (sqlite3.Error, OSError) as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise opening_error(self._path, error) from error
            raise Unavailable(f"the queue in {self._path} vanished while it was opened") from error

    def close(self) -> None:
        """Give back what is still in hand, where that is possible, and be no longer heard of."""
        if self._connection is None:
            return
        with suppress(Unavailable), self._writing() as db:
            self._take_back(db, self._owner)
        self._connection.close()
        self._connection = None

    def publish(self, messages: Sequence[Message]) -> None:
        with self._writing(durable=True) as db:
            (last,) = db.execute("SELECT coalesce(max(id), 0) FROM queue_messages").fetchone()
            db.executemany(
                "INSERT INTO queue_bodies (id, body) VALUES (?, ?)",
                [(place, message.body) for place, message in enumerate(messages, last + 1)],
            )
            queue = self._queues["tasks"]
            db.executemany(
                _PUBLISH,
                [
                    (place, queue, int(each.priority != "high"), each.attempts, each.submission, each.task_id)
                    for place, each in enumerate(messages, last + 1)
                ],
            )
        self._changed = True

    def publish_result(self, line: bytes) -> None:
        with self._writing(durable=True) as db:
            db.execute("INSERT INTO queue_results (queue, line) VALUES (?, ?)", (self._queues["tasks"], line))

    def take(self, wanted: Mapping[QueueName, int]) -> list[Taken]:
        """Up to so many of each queue. Next to nothing is read while nothing has changed since the last call."""
        now = self._now()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look_after_the_others(now)
        due = self._anything_due(now)
        found = {queue: count for queue, count in wanted.items() if due or queue in self._ready}
        if not found:
            return []
        taken: list[Taken] = []
        with self._writing() as db:
            if due:
                db.execute(PROMOTE, (now, PROMOTED_AT_ONCE))
            for queue, count in found.items():
                taken += [_taken(queue, row) for row in db.execute(TAKE, (self._queues[queue], count)).fetchall()]
            db.executemany(_LEASE, [(self._owner, each.lease.token, each.lease.message_id) for each in taken])
            if taken:
                self._be_heard_of(now, LEASE_SECONDS)
        self._changed |= due
        self._ready -= {queue for queue, count in found.items() if count > sum(queue == each.queue for each in taken)}
        return taken

    def remove(self, lease: Lease) -> bool:
        """Whether the lease still held; only then is the message gone."""
        with self._writing(durable=True) as db:
            removed = db.execute(
                "DELETE FROM queue_messages WHERE id = ? AND token = ?", (lease.message_id, lease.token)
            ).rowcount
        return removed == 1

    def move(self, lease: Lease, *, delay_seconds: float, attempts: int) -> bool:
        """Into the tasks queue after `delay_seconds`. Whether the lease still held; only then is it moved."""
        state, due = (WAITING, self._now() + delay_seconds) if delay_seconds > 0 else (READY, None)
        with self._writing(durable=True) as db:
            moved = db.execute(
                _MOVE,
                (self._queues["tasks"], state, due, attempts, lease.message_id, lease.token),
            ).rowcount
        self._changed = True
        return moved == 1

    def give_back(self, given: Sequence[GivenBack]) -> None:
        """What of it is still leased is ready again, at its old place."""
        with self._writing() as db:
            db.executemany(
                _GIVE_BACK + " WHERE id = :id AND token = :token",
                [
                    {
                        "more": each.returns,
                        "limit": DELIVERY_LIMIT,
                        "id": each.lease.message_id,
                        "token": each.lease.token,
                    }
                    for each in given
                ],
            )
        self._changed = True

    def renew(self) -> None:
        """Be heard of; due every `RENEW_SECONDS`."""
        with self._reading() as db:
            holding = db.execute(HELD, (self._owner,)).fetchone()
        now = self._now()
        if holding or self._until - now < IDLE_SECONDS - 3 * RENEW_SECONDS:
            with self._writing():
                self._be_heard_of(now, LEASE_SECONDS if holding else IDLE_SECONDS)

    def count_consumers(self, consumers: int) -> None:
        """Say how many consumers of this process are on the tasks queue."""
        self._consumers = consumers
        with self._writing():
            self._be_heard_of(self._now(), LEASE_SECONDS)

    def depth(self) -> Depth:
        """A message in a worker's hands counts as one in its queue."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT queue, state, messages FROM queue_depths WHERE queue IN (?, ?)", tuple(self._queues.values())
            ).fetchall()
            owners = db.execute(
                "SELECT consumers, until, pid, started, pid_namespace FROM queue_owners WHERE queue = ?",
                (self._queues["tasks"],),
            ).fetchall()
        messages = {(queue, state): count for queue, state, count in rows}
        tasks, parked, now = self._queues["tasks"], self._queues["parked"], self._now()
        return Depth(
            tasks=messages[tasks, READY] + messages[tasks, LEASED],
            waiting=messages[tasks, WAITING],
            parked=messages[parked, READY] + messages[parked, LEASED],
            consumers=sum(each for each, until, *process in owners if until > now and not is_gone(Process(*process))),
        )

    def _now(self) -> float:
        return self._base + self._clock()

    def _anything_due(self, now: float) -> bool:
        """Whether messages have waited long enough. What is ready is looked up again if something has changed."""
        with self._reading() as db:
            (version,) = db.execute("PRAGMA data_version").fetchone()  # moves with every commit of another connection
            if self._changed or version != self._version:
                (self._next_due,) = db.execute(NEXT_DUE).fetchone()
                self._ready = {queue for queue, id_ in self._queues.items() if db.execute(ANY_READY, (id_,)).fetchone()}
                self._version, self._changed = version, False
        return self._next_due is not None and self._next_due <= now

    def _look_after_the_others(self, now: float) -> None:
        """Take back what is leased to processes that are gone, or have not been heard of for too long."""
        self._notice_own_silence(now)
        with self._reading() as db:
            others = db.execute(
                "SELECT owner, until, pid, started, pid_namespace FROM queue_owners WHERE owner <> ?", (self._owner,)
            ).fetchall()
        silent = now if now >= self._may_judge else float("-inf")
        for owner, until, *process in others:
            gone = is_gone(Process(*process))
            if gone or until <= silent:
                with self._writing() as db:
                    self._take_back(db, owner, until=float("inf") if gone else silent)
                self._changed = True

    def _notice_own_silence(self, now: float) -> None:
        """Who was not heard of either (the file locked, the host asleep) does not judge the others' silence yet."""
        if self._until < now:
            self._may_judge = now + LEASE_SECONDS

    def _take_back(self, db: sqlite3.Connection, owner: bytes, *, until: float = float("inf")) -> None:
        left = db.execute("DELETE FROM queue_owners WHERE owner = ? AND until <= ?", (owner, until)).rowcount
        if left:
            db.execute(
                _GIVE_BACK + " WHERE state = 2 AND owner = :owner",
                {"more": 1, "limit": DELIVERY_LIMIT, "owner": owner},
            )

    def _be_heard_of(self, now: float, seconds: float) -> None:
        """All leases of this process run for `seconds` from now. Within a transaction."""
        self._notice_own_silence(now)
        process, until = self._process, now + seconds
        who = (self._owner, self._queues["tasks"], self._consumers, until)
        self._db().execute(_HEARD_OF, (*who, process.pid, process.started, process.namespace))
        self._until = until

    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Unavailable(f"the queue in {self._path} is closed")
        return self._connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._db()
        except sqlite3.Error as error:
            raise away(self._path, error) from error

    @contextmanager
    def _writing(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it or nothing."""
        self._check_it_is_there()
        with self._reading() as db:
            synchronous = "FULL" if durable else "NORMAL"
            if synchronous != self._synchronous:
                # by executescript: a cached PRAGMA statement takes effect only when it is prepared anew
                db.executescript(f"PRAGMA synchronous = {synchronous}")
                self._synchronous = synchronous
            with _transaction(db):
                yield db

    def _check_it_is_there(self) -> None:
        """SQLite goes on writing to a file that was deleted; nobody would ever find those messages."""
        try:
            stat = self._path.stat()
        except OSError as error:
            raise Unavailable(f"the queue in {self._path} cannot be used now: {error.strerror}") from error
        if (stat.st_dev, stat.st_ino) != self._file:
            raise Unavailable(f"the queue in {self._path} was replaced by another file: restart to use that one")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _taken(queue: QueueName, row: tuple[int, int, int, int, int, str, bytes]) -> Taken:
    message_id, urgency, attempts, returns, submission, task_id, body = row
    message = Message(body, task_id, attempts, submission, "normal" if urgency else "high")
    return Taken(Lease(message_id, secrets.token_bytes(8)), queue, message, returns)


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
    if meta.get("boot") == boot and ahead <= 0:
        return base
    base = max(base, due - clock, until - clock)
    connection.executemany("INSERT OR REPLACE INTO queue_meta VALUES (?, ?)", [("boot", boot), ("base", base)])
    return base
