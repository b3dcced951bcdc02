"""What became of every task, what the servers saw, and whether any of it breaks a promise. Pure.

    findings = breaches(expected, seen, rules)      # empty: every promise was kept

A task is lost if it ended as nothing, doubled if the store took a result for it twice, and wrongly parked if it ended
under another reason than its own. The store's row is not enough to tell: it has one place for each id. So `Seen.stored`
is the history of that place, written down by a trigger in the database itself. One line for each task: what has ended
is recognised when it comes again, done or parked, and is not even written again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

DONE = "done"


@dataclass(frozen=True, slots=True)
class Stored:
    """One time that the store took a result: `done`, or the reason for which the task was parked."""

    task_id: str
    end: str
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Stall:
    """Somewhere in this time a program could not get to what it had to do."""

    began: float
    ended: float
    seconds: float  # it had no processor, or was stopped
    busy: float = 0.0  # it did something else


@dataclass(frozen=True, slots=True)
class Rules:
    """What a run had to keep."""

    max_in_flight: int
    interval_seconds: float  # between two starts
    attempts_may_be_spent: bool = False  # on tasks that end as done


@dataclass(frozen=True, slots=True)
class Seen:
    """What the witnesses of a run say."""

    stored: Sequence[Stored]
    exported: Mapping[str, str]  # task id → how it ended, as `export` tells its owner
    queued: int = 0  # messages left in any queue
    max_in_flight: int = 0
    starts: Sequence[float] = ()  # at the model server, in order
    unsteady_seconds: float = 0.0  # how late the model server got to see what had arrived, at the most
    stalls: Sequence[Stall] = ()  # of model server, workers and their supervisor
    exit_code: int = 0
    processes: Sequence[str] = ()  # that are still there after the end
    files: Sequence[str] = ()  # that nobody needs any more
    secrets: Sequence[str] = ()  # names of planted secrets that stand in a log
    tracebacks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """One line of the table."""

    tasks: int = 0
    lost: int = 0
    twice: int = 0
    done: int = 0
    parked: int = 0
    poison: int = 0
    wrongly_parked: int = 0
    attempts_spent: int = 0
    max_in_flight: int = 0
    most_in_a_minute: int = 0
    smallest_gap: float | None = None
    ahead: float = 0.0  # of the pace, in starts
    unexplained: float = 0.0  # part of it that nothing measured explains
    unsteady_seconds: float = 0.0
    breaches: tuple[str, ...] = field(default=())


def audit(expected: Mapping[str, str], seen: Seen, rules: Rules) -> Count:
    """`expected`: each task's id and how it must end (`done`, or a reason for being parked)."""
    history = _history(seen.stored)
    ends = {task_id: each[-1] for task_id, each in history.items()}
    return Count(
        tasks=len(expected),
        lost=len(set(expected) - set(ends)),
        twice=sum(len(each) > 1 for each in history.values()),
        done=sum(end == DONE for end in ends.values()),
        parked=sum(end != DONE for end in ends.values()),
        poison=sum(end != DONE for end in expected.values()),
        wrongly_parked=sum(end not in (DONE, expected.get(task_id)) for task_id, end in ends.items()),
        attempts_spent=sum(each.attempts > 1 for each in seen.stored if each.end == DONE),
        max_in_flight=seen.max_in_flight,
        most_in_a_minute=most_in(60.0, seen.starts),
        smallest_gap=min((b - a for a, b in zip(seen.starts, seen.starts[1:], strict=False)), default=None),
        ahead=round(ahead_of_pace(seen.starts, rules.interval_seconds), 2),
        unexplained=round(unexplained(seen.starts, rules.interval_seconds, seen.stalls), 2),
        unsteady_seconds=round(seen.unsteady_seconds, 3),
        breaches=tuple(breaches(expected, seen, rules)),
    )


def breaches(expected: Mapping[str, str], seen: Seen, rules: Rules) -> list[str]:
    """Every broken promise in a line of its own."""
    found = [*_of_tasks(expected, seen.stored, seen.exported)]
    if seen.queued:
        found.append(f"{seen.queued} messages are still queued")
    if not rules.attempts_may_be_spent:
        found += [
            f"{each.task_id}: done at attempt {each.attempts}, though nothing was its fault"
            for each in seen.stored
            if each.end == DONE and each.attempts != 1
        ]
    found += _of_limits(seen, rules)
    if seen.exit_code:
        found.append(f"the service ended with exit code {seen.exit_code}")
    found += [f"process left behind: {process}" for process in seen.processes]
    found += [f"file left behind: {file}" for file in seen.files]
    found += [f"secret in a log: {secret}" for secret in seen.secrets]
    found += [f"traceback in a log: {line}" for line in seen.tracebacks]
    return found


def ahead_of_pace(starts: Sequence[float], interval_seconds: float) -> float:
    """By how many starts the fastest stretch was ahead of an even pace: 1 where each came as it was granted.

    A start may follow its grant at once, or a moment later; so k intervals hold k + 1 starts and never more.
    """
    most = 0.0
    latest = -math.inf  # of the starts so far, each as if all before it had been as fast as allowed
    for index, start in enumerate(starts):
        even = start - index * interval_seconds
        latest = max(latest, even)
        most = max(most, (latest - even) / interval_seconds)
    return most


GRANT_IS_GOOD_FOR = 0.5
"""Of an interval: a grant that is not used by then is handed back unsent."""
SAMPLED_SECONDS = 0.01
"""How often a watcher looks for stalls: a shorter one may be seen late, or not at all."""


def unexplained(starts: Sequence[float], interval_seconds: float, stalls: Sequence[Stall]) -> float:
    """By how many starts the pace was overtaken, after each start was taken to have been granted as early as it can.

    It can be later than its grant by what kept programs from running just then, and by what else its worker did; by the
    second for no longer than a grant is good. All of that is measured; on a machine where nobody waits it is little.

    What this cannot find, and nobody who looks from outside can: a start that is early by no more than that and 10 ms.
    Where a worker had to wait for a processor longer than the rest of the interval, one start too many in that moment
    passes for a late one, and the older bound in `_of_limits` has the last word. A processor that is taken away from the
    machine without a word of its host is not measured: it looks like a breach and not like an excuse.
    """
    most, latest = 0.0, -math.inf
    by_second = _by_second(stalls)
    for index, start in enumerate(starts):
        even = start - index * interval_seconds
        most = max(most, latest - even)
        since, until = start - interval_seconds, start + 2 * SAMPLED_SECONDS
        seconds = range(int(since), int(until) + 1)
        near = {
            stall for second in seconds for stall in by_second[second] if stall.ended >= since and stall.began <= until
        }
        kept = sum(stall.seconds for stall in near)
        busy = min(sum(stall.busy for stall in near), GRANT_IS_GOOD_FOR * interval_seconds)
        latest = max(latest, even - kept - busy - SAMPLED_SECONDS)
    return most / interval_seconds


def _by_second(stalls: Sequence[Stall]) -> Mapping[int, list[Stall]]:
    found: defaultdict[int, list[Stall]] = defaultdict(list)
    for stall in stalls:
        for second in range(int(stall.began), int(stall.ended) + 1):
            found[second].append(stall)
    return found


def most_in(seconds: float, starts: Sequence[float]) -> int:
    """The most starts in any half-open window of this length."""
    most = first = 0
    for last, start in enumerate(starts):
        while start - starts[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def leaked(text: str, secrets: Mapping[str, str]) -> list[str]:
    """Names of those `secrets` that stand in `text`."""
    return [name for name, secret in secrets.items() if secret in text]


def _history(stored: Sequence[Stored]) -> dict[str, list[str]]:
    """Each task's ends, in their order."""
    history: dict[str, list[str]] = {}
    for each in stored:
        history.setdefault(each.task_id, []).append(each.end)
    return history


def _of_tasks(expected: Mapping[str, str], stored: Sequence[Stored], exported: Mapping[str, str]) -> Iterable[str]:
    history = _history(stored)
    for task_id, end in expected.items():
        ends = history.get(task_id, [])
        if not ends:
            yield f"{task_id}: lost, neither done nor parked (expected: {end})"
        elif len(ends) > 1:
            yield f"{task_id}: stored {len(ends)} times: {', '.join(ends)}"
        elif ends[0] != end:
            yield f"{task_id}: ended as {ends[0]}, expected: {end}"
        if ends and exported.get(task_id) != ends[-1]:
            yield f"{task_id}: export says {exported.get(task_id)}, the store {ends[-1]}"
    for task_id in sorted(set(history) | set(exported)):
        if task_id not in expected:
            yield f"{task_id}: nobody submitted it"


def _of_limits(seen: Seen, rules: Rules) -> Iterable[str]:
    if seen.max_in_flight > rules.max_in_flight:
        yield f"{seen.max_in_flight} requests in flight, {rules.max_in_flight} are allowed"
    ahead = ahead_of_pace(seen.starts, rules.interval_seconds)
    # one start that is late is the pace's own tolerance. Where the machine let programs wait, more of them may be late
    # together, but never more than may be in flight: whoever waits holds a slot
    allowed = 1 + min(rules.max_in_flight, seen.unsteady_seconds / rules.interval_seconds)
    if ahead > allowed:
        yield f"requests started {ahead:.2f} intervals ahead of the pace, {allowed:.2f} can be explained"
    elif (more := unexplained(seen.starts, rules.interval_seconds, seen.stalls)) > 0:
        yield f"requests overtook the pace by {more:.2f} intervals more than anything that was measured explains"
