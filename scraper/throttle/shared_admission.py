"""One `Admission` for many processes: who its members are, what they said, and what each is to be told.

A member is one client of one process. Its connection is its lease on everything it holds:

| what happens to a member                 | its waiters | its leases                                                  |
|------------------------------------------|-------------|-------------------------------------------------------------|
| says Bye, or its process is gone         | leave       | back at once                                                |
| connection lost, process still runs      | leave       | held until it is back and tells, is gone, or reaped        |
| the coordinator was replaced (snapshot)  | ask again   | the same                                                    |
| back, and does not tell of a lease       | –           | back: a grant it never received                             |
| back, and tells of one that was reaped   | –           | Revoked: it stops its request                               |
| a lease older than its attempt + grace   | –           | reaped: back, logged, and the member told                   |

The strictest limits of all members hold, unless an operator has set others. After a takeover nobody is granted
anything until all members that still run are back, or have had a second for it.

Pure like `Admission`: time is an argument, what came of it is returned, and the host writes down what `changed`
before it tells anybody.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from scraper.events import Event, LeaseReaped, ThrottleOrdered
from scraper.host import Process
from scraper.throttle.admission import UNLIMITED, Admission
from scraper.throttle.brought_limits import BroughtLimits, Override
from scraper.throttle.mailboxes import Mailboxes
from scraper.throttle.member import Member
from scraper.throttle.nanoseconds import ns, sooner, to_seconds
from scraper.throttle.orders import carry_out, in_words
from scraper.throttle.overdue import Overdue
from scraper.throttle.protocol import (
    Ask,
    BadLine,
    Brings,
    Cancel,
    Command,
    Finds,
    Finish,
    Holds,
    Message,
    Ping,
    Pong,
    Ready,
    Revoked,
    Standing,
    Start,
    Takes,
    Where,
)
from scraper.throttle.scope import Scope
from scraper.throttle.shared_status import status_of
from scraper.throttle.snapshot_file import Unusable
from scraper.throttle.turn import Grant, Lease, Refusal
from scraper.throttle.turn_message import granted_of, refused_of
from scraper.throttle.verdict import CANCELLED, UNSENT
from scraper.throttle.verdict_message import verdict_of

GATHER_SECONDS = 1.0
"""How long a new coordinator waits for the members of the old one; they notice within milliseconds."""
REAP_AFTER_SECONDS = 30.0
"""A lease is reaped this long after its attempt must have timed out."""


class SharedTurn(NamedTuple):
    """What is to be told to whom, once it is written down if anything `changed`."""

    messages: dict[str, list[Message]]  # by member
    events: list[Event]
    wake_at: int | None
    changed: bool


class SharedAdmission:
    """The throttle of one endpoint for all processes of a host."""

    def __init__(self, *, reap_after_seconds: float = REAP_AFTER_SECONDS) -> None:
        self._admission = Admission()
        self._members: dict[str, Member] = {}
        self._askings: dict[int, tuple[Member, int]] = {}  # ticket → whose, and its id there
        self._known: dict[str, list[Any]] | None = None  # the members as the snapshot has them
        self._limits = BroughtLimits()
        self._scope = Scope()
        self._overdue = Overdue(ns(reap_after_seconds))
        self._began = 0
        self._remembers = True
        self._gather_until = 0
        self._mail = Mailboxes()
        self._events: list[Event] = []
        self._changed = False

    # --- how it begins --------------------------------------------------------------------------------------------

    def begin(self, now: int) -> None:
        """Nothing is known of what went before: nobody starts for one interval, and until members had time to come."""
        self._began, self._remembers = now, False
        self._gather_until = now + ns(GATHER_SECONDS)
        self._admission.begin(now)
        self._changed = True

    def restore(self, snapshot: dict[str, Any], now: int, *, same_pids: bool) -> None:
        """Go on where another process ended. Raises Unusable."""
        try:
            admission = Admission()
            admission.restore(snapshot["admission"])
            members = [
                Member.restored(token, plain, same_pids=same_pids) for token, plain in snapshot["members"].items()
            ]
            override = Override(*snapshot["override"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unusable("the snapshot is damaged") from error
        latest = max([admission.pacer.last_start or 0, *(lease.at for lease in admission.leases().values())])
        if latest > now:
            raise Unusable("the snapshot is by another clock")
        admission.go_on(now)
        self._admission, self._began, self._changed = admission, now, True
        self._members = {member.token: member for member in members if not member.process.is_gone()}
        self._known = None
        self._limits.override = override if self._members else Override()
        owners = {lease.owner for lease in admission.leases().values()}
        for orphan in owners - self._members.keys():
            self._release(orphan, now)
        self._gather_until = now + ns(GATHER_SECONDS)
        for lease in admission.leases().values():
            self._overdue.watch(lease)
        self._apply_limits(now)

    def snapshot(self) -> dict[str, Any]:
        """What must outlive the host, as plain values; what has not changed since the last is the same object."""
        return {
            "admission": self._admission.snapshot(),
            "members": self._roster(),
            "override": self._limits.override,
        }

    def _roster(self) -> dict[str, list[Any]]:
        """Plain lists, and kept: a snapshot is made for every grant."""
        if self._known is None:
            self._known = {member.token: member.plain() for member in self._members.values()}
        return self._known

    # --- who comes and goes ---------------------------------------------------------------------------------------

    def join(self, token: str, process: Process, now: int) -> None:
        """A client said Hello: a new one, or one that is back."""
        member = self._members.get(token)
        if member is None:
            member = self._members[token] = Member(token, process)
        self._leave_line(member, now)
        member.process, member.connected, member.ready, member.state = process, True, False, None
        member.told_of.clear()
        member.settled, member.wrong = 0, ""
        self._known = None
        self._changed = True

    def lose(self, token: str, now: int) -> None:
        """Its connection is gone; whether its process is will be asked of `missing`."""
        member = self._members.get(token)
        if member is None:
            return
        self._leave_line(member, now)
        member.connected = member.ready = False
        # One that cannot be seen from here has only its connection to show that it lives.
        if not member.process.is_visible or member.process.is_gone() or not self._admission.held_by(token):
            self.dismiss(token, now)

    def dismiss(self, token: str, now: int) -> None:
        """It holds nothing more: its process is gone, or it said Bye."""
        member = self._members.pop(token, None)
        if member is None:
            return
        self._known = None
        self._leave_line(member, now)
        self._release(token, now)
        self._scope.forget(token)
        if not self._members:
            self._limits.override = Override()
        self._apply_limits(now)
        self._changed = True

    def missing(self) -> list[Member]:
        """Members without a connection: look whether their processes still run."""
        return [member for member in self._members.values() if not member.connected]

    # --- what members say -----------------------------------------------------------------------------------------

    def take(self, token: str, message: Message, now: int) -> None:
        """Raises BadLine where nobody who follows the protocol says this."""
        member = self._members[token]
        match message:
            case Ask():
                self._take_asking(member, message, now)
            case Finish():
                self._take_finish(member, message, now)
            case Where(number):
                self._say_where(member, number, now)
            case Cancel(number):
                self._take_cancel(member, number, now)
            case Start(lease):
                self._start(member, lease, at=now, now=now)
            case Ping():
                self._mail.tell(member, Pong())
            case _:
                self._take_introduction(member, message, now)

    def _take_introduction(self, member: Member, message: Message, now: int) -> None:
        match message:
            case Brings():
                self._take_limits(member, message, now)
            case Takes():
                if (exceeded := self._scope.hear(member.token, message, now)) is not None:
                    self._events.append(exceeded)
            case Finds(wrong):
                member.wrong = wrong
            case Holds():
                self._take_holds(member, message, now)
            case Ready():
                self._take_ready(member, now)
            case _:
                raise BadLine(f"a {type(message).__name__} out of place")

    def _take_asking(self, member: Member, ask: Ask, now: int) -> None:
        if not member.ready or ask.id in member.waiting:
            raise BadLine("an Ask out of place")
        ticket = self._admission.ask(
            now,
            place=ask.place,
            hold_seconds=UNLIMITED if ask.hold_seconds is None else ask.hold_seconds,
            work_seconds=UNLIMITED if ask.work_seconds is None else ask.work_seconds,
            attempt_seconds=ask.attempt_seconds,
            owner=member.token,
        )
        member.waiting[ask.id] = ticket
        self._askings[ticket] = (member, ask.id)
        if ask.place is None:  # the newest: where it stands costs nothing to find out
            self._say_where(member, ask.id, now)

    def _take_cancel(self, member: Member, number: int, now: int) -> None:
        """Where its grant is already on the way, the client will hand that back."""
        ticket = member.waiting.pop(number, None)
        if ticket is not None:
            del self._askings[ticket]
            self._admission.cancel(ticket, now)

    def _take_finish(self, member: Member, finish: Finish, now: int) -> None:
        try:
            verdict = verdict_of(finish)
        except ValueError as error:
            raise BadLine("no verdict") from error
        if self._owner(finish.lease) == member.token:
            failures = self._admission.breaker.failures
            self._admission.finish(finish.lease, verdict, now)
            # Anything else its client tells again if this host dies before it next writes down a grant.
            self._changed |= self._admission.breaker.failures != failures
        member.settled += 1

    def _start(self, member: Member, lease: int, *, at: int, now: int) -> None:
        if self._owner(lease) == member.token:
            self._admission.start(lease, min(at, now))
            self._overdue.watch(self._admission.leases()[lease])
            self._changed = True

    def _say_where(self, member: Member, number: int, now: int) -> None:
        ticket = member.waiting.get(number, 0)
        standing = self._admission.standing(ticket, now)
        if standing is not None:
            self._mail.whisper(member, Standing(number, *standing), now)

    def _take_limits(self, member: Member, brings: Brings, now: int) -> None:
        if brings != member.brings:
            self._limits.bring(member, brings, self._members.values(), now)
            self._known = None
            self._apply_limits(now)
            self._changed = True

    def _take_holds(self, member: Member, holds: Holds, now: int) -> None:
        if member.ready:
            raise BadLine("a Holds out of place")
        owner = self._owner(holds.lease)
        if owner == member.token:
            member.told_of.add(holds.lease)
            self._start(member, holds.lease, at=holds.at, now=now)  # said to a coordinator that died, perhaps
        elif owner is None and not self._remembers and holds.at <= self._began:
            # Granted before the snapshot was lost: believe it. What this coordinator granted it would know.
            lease = Lease(
                at=holds.at,
                generation=-1,  # of a breaker that nobody remembers: its result decides nothing
                probe=holds.probe,
                check=holds.check,
                attempt_ns=ns(holds.attempt_seconds),
                owner=member.token,
            )
            self._admission.adopt(holds.lease, lease)
            self._overdue.watch(lease)
            member.told_of.add(holds.lease)
            self._changed = True
        else:
            self._mail.tell(member, Revoked(holds.lease))

    def _take_ready(self, member: Member, now: int) -> None:
        for number in self._admission.held_by(member.token):
            if number not in member.told_of:
                self._admission.finish(number, UNSENT, now)
        member.told_of.clear()
        member.ready = True
        self._changed = True

    # --- what operators say ---------------------------------------------------------------------------------------

    def obey(self, command: Command, now: int, *, by: str = "") -> None:
        """Raises BadLine for an order that does not exist."""
        if command.verb == "show":
            return
        carry_out(command, self._admission, self._limits, now)
        self._events.append(ThrottleOrdered(in_words(command), by))
        self._apply_limits(now)
        self._changed = True
        self._mail.announce()

    def status(self, now: int) -> dict[str, Any]:
        """For an operator's eyes."""
        return status_of(self._admission, self._members.values(), self._limits, self._scope, now)

    # --- the turn -------------------------------------------------------------------------------------------------

    def turn(self, now: int) -> SharedTurn:
        """Grant all that may start, and collect what is to be told."""
        if self._gather_until and self._gathering(now):
            wake_at: int | None = self._gather_until
            blocked_by = self._admission.blocked_by(now)
        else:
            if self._overdue.look_at is not None and now >= self._overdue.look_at:
                self._reap(now)
            turn = self._admission.turn(now)
            for grant in turn.grants:
                self._tell_grant(grant)
            for refusal in turn.refusals:
                self._tell_refusal(refusal)
            self._events += turn.events
            blocked_by = turn.blocked_by
            wake_at = sooner(turn.wake_at, self._overdue.look_at)
            if self._limits.say_at is not None:
                self._events += self._limits.news(self._members.values(), now)
                wake_at = sooner(wake_at, self._limits.say_at)
        events, self._events = self._events, []
        changed, self._changed = self._changed or bool(events), False
        messages = self._mail.collect(self._admission, self._members, now, blocked_by=blocked_by)
        return SharedTurn(messages, events, sooner(wake_at, self._mail.due_at), changed)

    def _gathering(self, now: int) -> bool:
        """Whether some are still awaited; those who hold nothing are no members once this is over."""
        if now < self._gather_until and not (self._remembers and all(each.ready for each in self._members.values())):
            return True
        self._gather_until = 0
        for member in self.missing():
            if not self._admission.held_by(member.token):
                self.dismiss(member.token, now)
        return False

    def _reap(self, now: int) -> None:
        for number, lease in self._overdue.among(self._admission.leases(), now):
            self._admission.finish(number, CANCELLED, now)
            self._changed = True
            member = self._members.get(lease.owner)
            pid = 0 if member is None else member.process.pid
            self._events.append(LeaseReaped(pid, round(to_seconds(now - lease.at), 3)))
            if member is not None:
                self._mail.tell(member, Revoked(number))
                if not member.connected and not self._admission.held_by(member.token):
                    self.dismiss(member.token, now)

    def _tell_grant(self, grant: Grant) -> None:
        member, number = self._askings.pop(grant.ticket)
        del member.waiting[number]
        self._changed = True
        self._overdue.watch(self._admission.leases()[grant.lease])
        self._mail.answer(member, granted_of(number, grant, settled=member.settled))

    def _tell_refusal(self, refusal: Refusal) -> None:
        asked = self._askings.pop(refusal.ticket, None)
        if asked is None:
            return  # it was refused as it asked, and has left before the turn that tells it
        member, number = asked
        del member.waiting[number]
        self._mail.answer(member, refused_of(number, refusal))

    # --- what both sides of it lean on ----------------------------------------------------------------------------

    def _apply_limits(self, now: int) -> None:
        limits, admission = self._limits.in_force(self._members.values()), self._admission
        if limits is None:
            return
        limit, rate = limits.max_concurrent, limits.requests_per_minute
        if (limit, rate) != (admission.limit, admission.pacer.requests_per_minute):
            admission.set_limits(now, max_concurrent=limit, requests_per_minute=rate)
            self._changed = True
            self._mail.announce()
        admission.breaker.threshold = limits.threshold
        admission.breaker.timeout_seconds = limits.timeout_seconds

    def _leave_line(self, member: Member, now: int) -> None:
        for ticket in member.waiting.values():
            del self._askings[ticket]
            self._admission.cancel(ticket, now)
        member.waiting.clear()
        self._mail.forget(member.token)  # who is back tells again what was not settled

    def _release(self, token: str, now: int) -> None:
        for number in self._admission.held_by(token):
            self._admission.finish(number, CANCELLED, now)
        self._changed = True

    def _owner(self, number: int) -> str | None:
        lease = self._admission.leases().get(number)
        return None if lease is None else lease.owner
