"""A simulated model server in a process of its own, which counts and times what really reaches it, and what to make of it."""

import os
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import httpx


class Server:
    """Its own word on what clients did: `stats`. Its clock is the one of all processes of this host."""

    def __init__(self, base_url):
        self.base_url = base_url
        self._root = base_url.removesuffix("/v1")
        self._http = httpx.Client(trust_env=False, timeout=60)

    def stats(self):
        return self._http.get(f"{self._root}/_stats", params={"last": 100_000}).json()

    def order(self, **order):
        return self._http.post(f"{self._root}/_control", json=order).raise_for_status().json()

    def starts_since(self, moment):
        """Of the last few."""
        last = self._http.get(f"{self._root}/_stats", params={"last": 50}).json()["starts"]
        return [start for start in last if start >= moment]

    def close(self):
        self._http.close()


@contextmanager
def model_server(*options, time_scale=0.2):
    """At this scale a short answer takes about 0.3 s."""
    command = [sys.executable, "-m", "scraper.testing.vllm", "--port", "0", "--served-model-name", "m", "--no-oom"]
    command += ["--time-scale", str(time_scale), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with suppress(PermissionError):  # a referee who is kept waiting sees things closer together than they were
        os.setpriority(os.PRIO_PROCESS, process.pid, -10)
    server = Server(process.stdout.readline().strip())
    try:
        yield server
    finally:
        server.close()
        process.stdout.close()
        process.kill()
        process.wait()


def closest(starts, interval):
    """How much closer than allowed the worst group of starts came; at most 0 where k + 1 starts took at least k·T.

    A start is up to T/2 after its grant, so two of them may be T/2 apart; but of k + 2 the last is more than k·T
    after the first.
    """
    worst, earliest, before = float("-inf"), float("-inf"), None
    for number, start in enumerate(sorted(starts)):
        ahead = start - number * interval
        if before is not None:
            worst = max(worst, earliest - interval - ahead)
            earliest = max(earliest, before)
        before = ahead
    return worst


@dataclass
class Phase:
    """One kind of attack: when it began and ended, and what of it does not count, as (begin, end) of monotonic time."""

    name: str
    begin: float
    end: float = 0.0
    windows: tuple = ()
    wake: float = 0.0  # what this machine took meanwhile to wake somebody, on average

    def share(self, starts, interval):
        """Of the starts that the pace allows outside of the windows, how many there were."""
        counted = [start for start in starts if self.begin <= start < self.end and not self._in_window(start)]
        return len(counted) * interval / (self.end - self.begin - self.lost)

    def fair_share(self, starts, interval):
        """The same, where each start may cost as much as it takes to wake four: client, coordinator, client, server."""
        return self.share(starts, interval + 4 * self.wake)

    @property
    def lost(self):
        return sum(min(end, self.end) - begin for begin, end in self.windows)

    def _in_window(self, moment):
        return any(begin <= moment <= end for begin, end in self.windows)


class Clockwork:
    """How late this machine is by itself, told by a thread that only sleeps: nothing can be measured more exactly."""

    def __init__(self):
        self._late = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    @property
    def latest(self):
        return max(late for _, late in self._late)

    def mean_between(self, begin, end):
        """Seconds from when something could go on until it does."""
        return statistics.fmean(late for moment, late in self._late if begin <= moment < end)

    def _watch(self):
        while not self._stop.is_set():
            before = now()
            time.sleep(0.005)
            self._late.append((before, now() - before - 0.005))


def now():
    return time.monotonic()
