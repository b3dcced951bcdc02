"""Whether a run until the queue is empty is over, and its last words: pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

from scraper.observability.view import number_of

EMPTY_FOR_SECONDS = 1.0


class UntilEmpty:
    """Takes one reading a second. Over means: nothing left, twice, at least a second apart, each time told by all."""

    def __init__(self, *, workers: int) -> None:
        self._workers = workers
        self._heard: set[int] = set()
        self._empty_since: float | None = None

    def worker_said(self, worker: int) -> None:
        self._heard.add(worker)

    def worker_given_up(self) -> None:
        """One fewer will ever speak, and it holds nothing."""
        self._workers -= 1

    def over(self, *, left: int, now: float) -> bool:
        """`left`: messages in the queues and in workers' hands, as far as the broker and the workers know."""
        empty = left == 0 and len(self._heard) == self._workers
        self._heard.clear()
        if not empty:
            self._empty_since = None
            return False
        if self._empty_since is None:
            self._empty_since = now
        return now - self._empty_since >= EMPTY_FOR_SECONDS


def welcome(*, workers: int, consumers: int, queue: str, model_server: str, limits: str, page: str) -> str:
    """What a run that nobody's panel shows says first on a terminal; `page`: where the status page is, if anywhere."""
    each = "" if workers == 1 else " each"
    watch = f"`scraper status`, `python scripts/monitor_throttling.py --attach`, {page or '`scraper dashboard`'}"
    return (
        f"{number_of('worker', workers)} with {number_of('consumer', consumers)}{each} for {queue}, asking "
        f"{model_server} with {limits}\n"
        f"how far it is: {watch}; new tasks: `scraper submit`\n"
        "ctrl-c finishes what the model works on, a second ctrl-c stops at once"
    )


def finishing(*, in_hand: int, drain_seconds: float) -> str:
    """What a first ctrl-c is answered with."""
    what = (
        f"{number_of('task', in_hand)} in hand: those at the model finish ({drain_seconds:g} s at most, "
        "DRAIN_SECONDS), the others go back"
        if in_hand
        else "stopping"
    )
    return f"{what}; ctrl-c again stops at once"


def left_behind(left: int | None) -> str:
    """The end of an interrupted run's last words; None: the broker did not say."""
    return "interrupted, " + (
        f"{left} left in the queue" if left is not None else "the broker does not say what is left"
    )


def summary(outcomes: Mapping[str, int], reasons: Mapping[str, int]) -> str:
    """The last words of a run: how its tasks ended, why those that are parked are, and what held some up meanwhile."""
    done, parked = outcomes.get("done", 0), outcomes.get("park", 0)
    most_first = sorted(reasons.items(), key=lambda item: -item[1])
    why = f" ({', '.join(f'{reason} {count}' for reason, count in most_first)})" if reasons else ""
    held, again = outcomes.get("hold", 0), outcomes.get("retry", 0)
    on_the_way = (
        f"; {number_of('time', held)} a task went back to wait for its site or the model server" if held else ""
    )
    if again:
        on_the_way += f"; {number_of('time', again)} one was tried again after its page or the model had failed"
    return f"{number_of('task', done + parked)}: {done} done, {parked} parked{why}{on_the_way}"


def what_now(outcomes: Mapping[str, int], *, queue: str) -> str:
    """What a newcomer asks next, behind the summary of a run that was not interrupted; often nothing."""
    if outcomes.get("park", 0):
        return "; `scraper dead list` says why they are parked"
    if outcomes.get("done", 0):
        return ""
    return f"; nothing was in the queue {queue}: `scraper submit` fills it, from the same folder"
