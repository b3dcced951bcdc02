"""One client of one process, as the coordinator knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from scraper.host import Process
from scraper.throttle.protocol import Brings, State


@dataclass(slots=True)
class Member:
    """One client of one process."""

    token: str
    process: Process
    brings: Brings | None = None
    connected: bool = False
    ready: bool = False
    waiting: dict[int, int] = field(default_factory=dict)  # id → ticket
    told_of: set[int] = field(default_factory=set)  # leases it said it holds, until it is ready
    wrong: str = ""  # a setting that the server refuses it
    settled: int = 0  # verdicts heard on its present connection
    state: State | None = None  # what it was told last

    def plain(self) -> list[Any]:
        """What must outlive the host."""
        return [*self.process, None if self.brings is None else list(self.brings)]

    @classmethod
    def restored(cls, token: str, plain: list[Any], *, same_pids: bool) -> Self:
        """From `plain`; of another container its pids say nothing. Raises ValueError or TypeError."""
        pid, started, brings = plain
        process = Process(pid, started) if same_pids else Process(0, 0)
        return cls(token, process, None if brings is None else Brings(*brings))
