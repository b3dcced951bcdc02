"""What the model server serves: asked when it is first needed, remembered, and asked again after something failed.

A server that is away at first contact holds the caller like an open circuit does; one whose answer does not fit the
settings is asked again every 30 s. Once it was known, doubt never holds anybody: the throttle does that better.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext

from scraper.deadline import Deadline
from scraper.errors import Held
from scraper.events import Back, EndpointMisconfigured, Observe, WaitingFor
from scraper.llm_server import Away, ModelServer, Served, ServedModel
from scraper.throttle.endpoint_pause import CHECK_SECONDS
from scraper.throttle.seam import HELD_AFTER_SECONDS
from scraper.throttle.verdict import Misconfiguration
from scraper.trace import Phase, Trace

AWAY_SECONDS = 5.0
"""How soon a server that could not be reached is asked again, by one caller for all."""
SAY_SECONDS = 30.0


class ServedModelMemory:
    """Shared by all calls of a client: they ask one at a time and share the answer, good or bad.

    `found_wrong` is told which setting the server refuses at first contact, and an empty text once it does no more.
    """

    def __init__(self, server: ModelServer, *, observe: Observe, found_wrong: Callable[[str], None]) -> None:
        self.known: ServedModel | None = None
        self._server = server
        self._observe = observe
        self._found_wrong = found_wrong
        self._doubtful = False
        self._asking = asyncio.Lock()
        self._trouble: tuple[float, Away | Misconfiguration] | None = None  # since when it is good for an answer
        self._away_since: float | None = None
        self._said = float("-inf")

    def doubt(self) -> None:
        """Something failed: it may be another server by now."""
        self._doubtful = True

    async def ask(self) -> Served:
        """Ask the server, unless somebody has just been told that it is no use."""
        async with self._asking:
            return self._recent_trouble() or await self._ask()

    async def wait_for(self, deadline: Deadline | None, trace: Trace | None) -> ServedModel:
        """What it serves; held while it cannot say. Raises Held past the deadline, without one at once."""
        while (served := await self._known_or_asked()) is None:
            trouble = self._trouble[1] if self._trouble else Away("no answer")
            pause = AWAY_SECONDS if isinstance(trouble, Away) else CHECK_SECONDS
            if deadline is None or deadline.hold_left < pause:
                raise Held(_why(trouble), after_seconds=HELD_AFTER_SECONDS)
            phase: Phase = "wait_circuit" if isinstance(trouble, Away) else "server_pause"
            with nullcontext() if trace is None else trace.within(phase):
                await asyncio.sleep(pause)
            deadline.waited(pause, held_seconds=pause)
        return served

    async def _known_or_asked(self) -> ServedModel | None:
        if self.known is None or self._doubtful:
            async with self._asking:
                if (self.known is None or self._doubtful) and not self._recent_trouble():
                    await self._ask()
        return self.known

    async def _ask(self) -> Served:
        answer = await self._server.served()
        now = asyncio.get_running_loop().time()
        if isinstance(answer, ServedModel):
            self.known, self._doubtful, self._trouble = answer, False, None
            self._server.forget()
            self._found_wrong("")
            if self._away_since is not None:
                self._observe(Back("model server", round(now - self._away_since, 1)))
            self._away_since = None
            return answer
        self._trouble = (now, answer)
        if self.known is None:
            self._say(answer, now)
        return answer

    def _recent_trouble(self) -> Away | Misconfiguration | None:
        if self._trouble is None:
            return None
        since, trouble = self._trouble
        age = asyncio.get_running_loop().time() - since
        return trouble if age < (AWAY_SECONDS if isinstance(trouble, Away) else CHECK_SECONDS) else None

    def _say(self, trouble: Away | Misconfiguration, now: float) -> None:
        if isinstance(trouble, Misconfiguration):
            self._found_wrong(_why(trouble))
            self._observe(EndpointMisconfigured(trouble.status, trouble.setting, trouble.advice, CHECK_SECONDS))
            return
        if self._away_since is None:
            self._away_since = now
        if now - self._said >= SAY_SECONDS:
            self._said = now
            self._observe(WaitingFor("model server", trouble.error, round(now - self._away_since, 1)))


def _why(trouble: Away | Misconfiguration) -> str:
    if isinstance(trouble, Away):
        return f"the model server is away: {trouble.error}"
    return f"{trouble.setting}: {trouble.advice}"
