"""One time of hosting: the sockets, the clock and the file around a `SharedAdmission`, which decides everything.

What has changed is written down before anybody is told, so a successor never knows less than a client; a host that
cannot write any more, or whose lock is not the one that others find, says nothing more and leaves.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from scraper.events import Observe
from scraper.throttle.alarm import Alarm
from scraper.throttle.election import Seat
from scraper.throttle.forked import keep_from_children
from scraper.throttle.nanoseconds import ns
from scraper.throttle.protocol import VERSION, BadLine, Bye, Command, Hello, Message, Report, Welcome
from scraper.throttle.rate_limiter import Clock, bound
from scraper.throttle.run_dir import MeetingPlace
from scraper.throttle.shared_admission import SharedAdmission
from scraper.throttle.snapshot_file import SnapshotFile, Unusable
from scraper.throttle.wire import Wire

GUARD_SECONDS = 5.0
"""How often an idle host looks whether its lock is still the one that others find."""
HELLO_SECONDS = 10.0
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.005, 1.0
"""How soon after a connection was lost its process is looked for, and how often in the end."""
BACKLOG = 1024
LONGEST_TOKEN = 64


class Office:
    """One time of hosting, from taking the seat to leaving it."""

    def __init__(
        self,
        seat: Seat,
        place: MeetingPlace,
        shared: SharedAdmission,
        observe: Observe,
        clock: Clock,
        *,
        boot: str,
        pids: str,
    ) -> None:
        self._seat = seat
        self._place = place
        self._observe = observe
        self._clock = bound(clock)
        self._boot = boot
        self._pids = pids
        self._shared = shared
        self._memory: SnapshotFile | None = None
        self._listening: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._wires: set[Wire] = set()
        self._members: dict[str, Wire] = {}  # by token
        self._then: list[Callable[[], None]] = []  # what is promised for when this turn is written down
        self._alarm = Alarm(self._clock, self._take_turn)
        self._looking: asyncio.TimerHandle | None = None
        self._guarding: asyncio.TimerHandle | None = None
        self.is_open = False

    # --- beginning and end ----------------------------------------------------------------------------------------

    def remember(self, host_before: int) -> str:
        """Take over what is known, write it down as ours, and say where it is from. Raises OSError."""
        now = self._now()
        self._memory = SnapshotFile(self._place.state, boot=self._boot, pids=self._pids)
        try:
            content = self._memory.read()
            self._shared.restore(content, now, same_pids=content.get("pids") == self._pids)
            before = f"process {host_before}"
        except Unusable as why:
            self._shared.begin(now)
            before = f"{why}: nothing starts for one interval"
        self._write_down()
        return before

    async def open(self) -> None:
        """Raises OSError where the folder takes no sockets."""
        self._listening = _listen(self._place.socket)
        keep_from_children(self._listening)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: Wire(heard=self._heard, closed=self._closed, opened=self._opened),
            sock=self._listening,
            backlog=BACKLOG,
        )
        self.is_open = True
        self._look(FIRST_LOOK_SECONDS)
        self._guard()
        self._take_turn()

    def close(self) -> None:
        """Hang up on everybody and free the seat."""
        self.is_open = False
        self._alarm.cancel()
        for timer in (self._looking, self._guarding):
            if timer is not None:
                timer.cancel()
        if self._server is not None:
            self._server.close()
        elif self._listening is not None:
            self._listening.close()
        for wire in self._wires:
            wire.abort()
        if self._memory is not None:
            self._memory.close()
        if self._seat.is_valid():
            with suppress(OSError):  # whoever is next makes room for its own
                self._place.socket.unlink(missing_ok=True)
        self._seat.leave()

    async def wait_closed(self) -> None:
        """Close, and let asyncio finish with the connections."""
        wires = list(self._wires)
        self.close()
        await asyncio.gather(*(wire.lost for wire in wires))

    def _guard(self) -> None:
        """Others must find this lock and this socket; a cleaner of old files may have been here."""
        if not (self._seat.is_valid() and self._place.socket.exists() and self._place.state.exists()):
            self.close()
            return
        self._seat.refresh()
        self._guarding = asyncio.get_running_loop().call_later(GUARD_SECONDS, self._guard)

    # --- connections ----------------------------------------------------------------------------------------------

    def _opened(self, wire: Wire) -> None:
        self._wires.add(wire)
        asyncio.get_running_loop().call_later(HELLO_SECONDS, self._expect_hello, wire)

    def _expect_hello(self, wire: Wire) -> None:
        if wire.token is None:
            wire.abort()

    def _heard(self, wire: Wire, messages: list[Message]) -> None:
        if not self.is_open:
            return
        now = self._now()
        try:
            for message in messages:
                self._take(wire, message, now)
        finally:
            self._take_turn()

    def _take(self, wire: Wire, message: Message, now: int) -> None:
        token = wire.token
        if token is None:
            self._welcome(wire, message, now)
        elif not token:
            self._obey(wire, message, now)
        elif self._members.get(token) is not wire:
            raise BadLine("said after its goodbye")
        elif isinstance(message, Bye):
            del self._members[token]
            self._shared.dismiss(token, now)
            self._then.append(wire.hang_up)
        else:
            self._shared.take(token, message, now)

    def _obey(self, wire: Wire, command: Message, now: int) -> None:
        if not isinstance(command, Command):
            raise BadLine("operators give orders only")
        self._shared.obey(command, now, by=f"user {wire.user}, process {wire.peer.pid}")
        host = {"host_pid": os.getpid(), "host_pids": self._pids}
        self._then.append(partial(wire.write, [Report(self._shared.status(now) | host)]))

    def _welcome(self, wire: Wire, hello: Message, now: int) -> None:
        if not isinstance(hello, Hello):
            raise BadLine("nobody was introduced")
        if len(hello.token) > LONGEST_TOKEN:  # it goes into every snapshot
            raise BadLine("a name too long")
        wire.send(Welcome(VERSION, os.getpid(), now))
        if hello.version != VERSION:
            wire.hang_up()
            return
        wire.token = hello.token
        if hello.token:
            before = self._members.get(hello.token)
            self._members[hello.token] = wire
            if before is not None:
                before.abort()
            self._shared.join(hello.token, wire.peer, now)

    def _closed(self, wire: Wire) -> None:
        self._wires.discard(wire)
        token = wire.token
        if not self.is_open or token is None or self._members.get(token) is not wire:
            return
        del self._members[token]
        self._shared.lose(token, self._now())
        self._look(FIRST_LOOK_SECONDS)
        self._take_turn()

    def _look(self, after_seconds: float) -> None:
        """Members without a connection whose process is gone hold nothing more."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if not self._shared.missing():
            return
        self._looking = asyncio.get_running_loop().call_later(after_seconds, self._look_now, after_seconds)

    def _look_now(self, after_seconds: float) -> None:
        gone = [member.token for member in self._shared.missing() if member.process.is_gone()]
        for token in gone:
            self._shared.dismiss(token, self._now())
        self._look(min(2 * after_seconds, LONGEST_LOOK_SECONDS))
        if gone:
            self._take_turn()

    # --- the turn -------------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return ns(self._clock())

    def _take_turn(self, not_before: int = 0) -> None:
        """Decide, write down, tell. `not_before`: the alarm's moment, which a float may show as a little later."""
        if not self.is_open:
            return
        turn = self._shared.turn(max(self._now(), not_before))
        if turn.changed:
            try:
                self._write_down()
            except OSError:
                self.close()  # unsaid, all this did not happen: whoever is next goes on from the last snapshot
                return
        for token, messages in turn.messages.items():
            wire = self._members.get(token)
            if wire is not None:
                wire.write(messages)
        if self._then:
            promised, self._then = self._then, []
            for keep in promised:
                keep()
        self._alarm.set(turn.wake_at)
        for event in turn.events:
            self._observe(event)

    def _write_down(self) -> None:
        if self._memory is None or not self._seat.is_valid():
            raise OSError(errno.ESTALE, "the lock was removed")
        self._memory.write(self._shared.snapshot())


def _listen(path: Path) -> socket.socket:
    """A socket at `path` for its user alone; only the lock's holder may call this."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)  # noqa: FBT003 - its only argument
        listening.bind(os.fspath(path))
        path.chmod(0o600)
    except OSError:
        listening.close()
        raise
    return listening
