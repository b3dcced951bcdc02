"""What several processes did to one endpoint, judged by the one file that all of them wrote into, in order."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from scraper.errors import Unavailable
from scraper.throttle import operations
from scraper.throttle.election import holder_of
from scraper.throttle.run_dir import MeetingPlace
from tests.throttle.sharer import ENDPOINT, Log

SOON_SECONDS = 180.0
"""How long something that must happen may take on a machine that is busy with other things."""


@dataclass
class Account:
    """What the file says."""

    most_in_flight: int = 0
    in_flight: int = 0
    grants: list[int] = field(default_factory=list)  # nanoseconds, sorted
    starts: int = 0
    lines: list[list[str]] = field(default_factory=list)

    @property
    def ready(self):
        """Who has ever been."""
        return {line[1] for line in self.lines if line[0] == "ready"}

    def smallest_gap(self):
        return min(
            (later - earlier for earlier, later in zip(self.grants, self.grants[1:], strict=False)), default=None
        )

    def count(self, *words):
        return sum(
            line[: len(words)] == list(words) or (line[0] == "event" and line[2] == words[0]) for line in self.lines
        )


class Referee:
    """Starts processes that share a throttle, does to them what happens to processes, and keeps the account."""

    def __init__(self, folder, *, program="tests.throttle.sharer", endpoint=ENDPOINT):
        self.program = program
        self.endpoint = endpoint
        self.run_dir = folder / "run"
        self.path = folder / "log"
        self.log = Log(self.path)
        self.processes = {}
        self._seed = 0

    def start(self, **options):
        self._seed += 1
        command = [sys.executable, "-m", self.program, "--log", self.path, "--run-dir", self.run_dir]
        for name, value in {"seed": self._seed, **options}.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        process = subprocess.Popen(command)
        self.processes[process.pid] = process
        return process.pid

    def kill(self, pid):
        self.log.note("killing", pid)  # before: whatever it still does does not outlive it
        self.processes[pid].kill()
        self.processes.pop(pid).wait()

    @contextmanager
    def stopped(self, pid):
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def end(self):
        for process in self.processes.values():
            process.terminate()
        codes = [process.wait(timeout=SOON_SECONDS) for process in self.processes.values()]
        self.processes.clear()
        return codes

    def host(self):
        """Which of the processes hosts the coordinator; 0 while none does."""
        pid = holder_of(MeetingPlace.of(self.endpoint, self.run_dir).lock)
        return pid if pid in self.processes else 0

    def status(self):
        """What the coordinator says of itself, as soon as it does: a command gives a busy machine less time than this."""
        until = time.monotonic() + SOON_SECONDS
        while True:
            try:
                return asyncio.run(operations.show(self.endpoint, self.run_dir))
            except Unavailable:
                assert time.monotonic() < until, f"no word of the coordinator in {SOON_SECONDS} s"
                time.sleep(0.02)

    def wait_for(self, what):
        """Until the account makes `what` true; returns it."""
        until = time.monotonic() + SOON_SECONDS
        while time.monotonic() < until:
            account = self.account()
            if what(account):
                return account
            time.sleep(0.02)
        raise AssertionError(f"did not happen in {SOON_SECONDS} s; the last lines: {self.account().lines[-5:]}")

    def account(self):
        account = Account()
        running, killed = {}, set()
        for line in Path(self.path).read_text().splitlines():
            what, pid, *fields = words = line.split()
            account.lines.append(words)
            if what == "killing":
                killed.add(fields[0])
                running = {number: owner for number, owner in running.items() if owner != fields[0]}
            elif what == "start":
                account.starts += 1
                account.grants.append(int(fields[1]))
                if pid not in killed:
                    running[fields[0]] = pid
                account.most_in_flight = max(account.most_in_flight, len(running))
            elif what == "end":
                running.pop(fields[0], None)
        account.in_flight = len(running)
        account.grants.sort()
        return account


@contextmanager
def referee(folder, **options):
    one = Referee(folder, **options)
    try:
        yield one
    finally:
        for process in one.processes.values():
            process.kill()
            process.wait()
