"""Who has which message in hand, and when it is taken back.

A lease is an owner (a broker object of a process) and a random token. All leases of an owner run as long as it is
heard of, so that one statement renews them all.

| another owner is                                                  | its leases                                   |
|-------------------------------------------------------------------|----------------------------------------------|
| heard of                                                          | hold                                         |
| gone: no such process any more, or its number is another's by now | are taken back at the next look              |
| silent: frozen, or in another container                           | are taken back once they have run out        |

Whoever was silent itself (the file was locked, the host asleep) lets the others speak first.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from scraper.broker.sqlite_file import SharedFile
from scraper.host import Process, pid_namespace, this_process

LEASE_SECONDS = 15.0  # as long as RabbitMQ waits for a heartbeat
RENEW_SECONDS = 5.0  # two renewals may fail
IDLE_SECONDS = 60.0  # an owner that holds nothing is only counted as a consumer
LOOK_SECONDS = 1.0  # how often the others' processes are looked at
DELIVERY_LIMIT = 50  # as on RabbitMQ: the 51st return goes to the dead letters

HELD = "SELECT 1 FROM queue_messages WHERE state = 2 AND owner = ? LIMIT 1"
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
class GivenBack:
    lease: Lease
    returns: int  # 1 if somebody had it in hand, 0 if nobody got to see it


class Leases:
    """What this owner has in hand and, for the others, what they no longer can have."""

    def __init__(self, file: SharedFile) -> None:
        self.owner = secrets.token_bytes(8)
        self._file = file
        self._process, self._namespace = this_process(), pid_namespace()
        self._queue = 0
        self._consumers = 0
        self._until = self._looked = self._may_judge = float("-inf")

    def enter(self, db: sqlite3.Connection, queue: int, *, now: float) -> None:
        """Be heard of for the first time, as one who consumes `queue`."""
        self._queue = queue
        self._until = now
        self.extend(db, now, seconds=IDLE_SECONDS)

    def extend(self, db: sqlite3.Connection, now: float, *, seconds: float = LEASE_SECONDS) -> None:
        """Be heard of: all leases of this owner run for `seconds` from now."""
        self._notice_own_silence(now)
        until = now + seconds
        who = (self.owner, self._queue, self._consumers, until)
        db.execute(_HEARD_OF, (*who, *self._process, self._namespace))
        self._until = until

    def cover(self, db: sqlite3.Connection, now: float) -> None:
        """Let what has just been taken run as long as any lease, give or take a second."""
        if not LEASE_SECONDS - 1.0 <= self._until - now <= LEASE_SECONDS:
            self.extend(db, now)

    def renew(self, now: float) -> None:
        """Due every `RENEW_SECONDS`; one who holds nothing speaks up more rarely."""
        with self._file.reading() as db:
            holding = db.execute(HELD, (self.owner,)).fetchone()
        if holding or self._until - now < IDLE_SECONDS - 3 * RENEW_SECONDS:
            with self._file.writing() as db:
                self.extend(db, now, seconds=LEASE_SECONDS if holding else IDLE_SECONDS)

    def count_consumers(self, consumers: int, *, now: float) -> None:
        self._consumers = consumers
        with self._file.writing() as db:
            self.extend(db, now)

    def consumers(self, db: sqlite3.Connection, *, now: float) -> int:
        """Of all owners that are there."""
        owners = db.execute(
            "SELECT consumers, until, pid, started, pid_namespace FROM queue_owners WHERE queue = ?", (self._queue,)
        )
        return sum(each for each, until, *process in owners if until > now and not self._is_gone(*process))

    def look_after_the_others(self, now: float) -> None:
        """Take back what is leased to the gone and the silent; at most once in `LOOK_SECONDS`."""
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        self._notice_own_silence(now)
        with self._file.reading() as db:
            others = db.execute(
                "SELECT owner, until, pid, started, pid_namespace FROM queue_owners WHERE owner <> ?", (self.owner,)
            ).fetchall()
        silent_since = now if now >= self._may_judge else float("-inf")
        for owner, until, *process in others:
            gone = self._is_gone(*process)
            if gone or until <= silent_since:
                with self._file.writing() as db:
                    _take_back(db, owner, until=float("inf") if gone else silent_since)

    def leave(self) -> None:
        """Give back what is still in hand and be no longer heard of."""
        with self._file.writing() as db:
            _take_back(db, self.owner, until=float("inf"))

    def _is_gone(self, pid: int, started: str, namespace: str) -> bool:
        """Only if that is certain. Of a process in another container it never is: its lease has to run out."""
        return namespace == self._namespace and Process(pid, int(started or 0)).is_gone()

    def _notice_own_silence(self, now: float) -> None:
        if self._until < now:
            self._may_judge = now + LEASE_SECONDS


def give_back(db: sqlite3.Connection, given: Iterable[GivenBack]) -> None:
    """What of it is still leased is ready again, at its old place."""
    db.executemany(
        _GIVE_BACK + " WHERE id = :id AND token = :token",
        [
            {"more": each.returns, "limit": DELIVERY_LIMIT, "id": each.lease.message_id, "token": each.lease.token}
            for each in given
        ],
    )


def _take_back(db: sqlite3.Connection, owner: bytes, *, until: float) -> None:
    """All of an owner's, unless it has been heard of after `until`."""
    if db.execute("DELETE FROM queue_owners WHERE owner = ? AND until <= ?", (owner, until)).rowcount:
        db.execute(
            _GIVE_BACK + " WHERE state = 2 AND owner = :owner", {"more": 1, "limit": DELIVERY_LIMIT, "owner": owner}
        )
