"""What limits a run, in the owner's words, and which setting would change it. Pure arithmetic.

A consumer's time is split into phases, and the phase that most of it goes to is the limit. What more would bring is
Little's law: `n` slots whose requests take `w` seconds each finish `n / w` a second, and no pace gets more out of
them. It holds for today's latency; a busier GPU is slower, so it says what latency would allow, not what will be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scraper.observability.view import Queue, Throttle, duration, number_of, pause_text, seconds_text

WORTH_SAYING = 1.1
"""A limit that would give way by less than this factor is no advice."""
SLOTS_BUSY = 0.75
"""From this share of the slots in use on, the model is what limits, not too few consumers."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A sentence after «limited by», and the setting it is about."""

    sentence: str
    setting: str = ""


def advice(
    seconds: Mapping[str, float],
    *,
    throttle: Throttle,
    latency_mean_s: float | None,
    queue: Queue | None,
    away: Mapping[str, str],
    elapsed_s: float = 60.0,
) -> Advice:
    """`seconds` by phase of the last minutes; `elapsed_s`: how much of the last minute the run has lasted."""
    return (
        _state(throttle, away)
        or _nothing_to_do(seconds, queue)
        or _phase(seconds, throttle=throttle, latency=latency_mean_s, elapsed=elapsed_s)
    )


def _state(throttle: Throttle, away: Mapping[str, str]) -> Advice | None:
    """What holds everybody."""
    if throttle.misconfigured:
        setting = throttle.misconfigured.partition(":")[0]
        return Advice(throttle.misconfigured, setting)
    for what, why in away.items():
        if what != "model server" or throttle.circuit == "closed":
            return Advice(f"the {what}, which does not answer: {why}", "")
    if throttle.circuit == "open":
        when = "" if throttle.retry_in_s is None else f", next try in {duration(throttle.retry_in_s)}"
        why, to_do = "the model server fails", "look at its log, the tasks wait"
        if throttle.circuit_ordered:
            why, to_do = "an operator's order", "scraper throttle close ends it"
        return Advice(f"the open circuit: {why}{when}; {to_do}")
    if throttle.circuit == "half_open":
        return Advice("the half-open circuit: one request tries whether the model server works again")
    if throttle.paused_for_s > 0:
        asked = f" ({throttle.pause_reason})" if throttle.pause_reason else ""
        return Advice(f"a pause{asked}, {pause_text(throttle)}")
    return None


def _nothing_to_do(seconds: Mapping[str, float], queue: Queue | None) -> Advice | None:
    if queue is not None and queue.left == 0:
        return Advice("nothing: the queue is empty")
    if queue is not None and queue.ready == queue.in_hand == 0:
        return Advice(
            f"what {number_of('task', queue.waiting)} {'waits' if queue.waiting == 1 else 'wait'} for: a host's turn, "
            "a retry, or the model server"
        )
    return Advice("nothing yet") if sum(seconds.values()) <= 0 else None


def _phase(seconds: Mapping[str, float], *, throttle: Throttle, latency: float | None, elapsed: float) -> Advice:
    total = sum(seconds.values())
    phase = max(seconds, key=lambda each: seconds[each])
    share = f"{seconds[phase] / total:.0%} of their time"
    if phase == "wait_rate":
        return _pace(share, throttle, latency)
    if phase == "wait_slot":
        return _slots(share, throttle, latency)
    if phase in {"first_token", "generate"}:
        return _model(phase, share, throttle, latency, elapsed)
    what, more, setting = _OTHERS.get(phase, (phase, "", ""))
    return Advice(f"{what}: tasks spend {share} on it{more and '; '}{more}", setting)


def _pace(share: str, throttle: Throttle, latency: float | None) -> Advice:
    setting = "VLLM_REQUESTS_PER_MINUTE"
    pace = throttle.requests_per_minute
    sentence = f"{_assigned(setting, pace)}: tasks wait {share} for it"
    allowed = _allowed(throttle.limit, latency)
    if allowed is None or pace is None:
        return Advice(sentence, setting)
    at = f"{number_of('slot', throttle.limit or 0)} at {seconds_text(latency)} a request"
    if allowed > pace * WORTH_SAYING:
        return Advice(f"{sentence}; {at} would allow about {allowed:.0f} a minute", setting)
    return Advice(f"{sentence}; {at} (VLLM_MAX_CONCURRENT) allow no more", setting)


def _slots(share: str, throttle: Throttle, latency: float | None) -> Advice:
    setting = "VLLM_MAX_CONCURRENT"
    sentence = f"{_assigned(setting, throttle.limit)}: tasks wait {share} for a free slot"
    allowed, more = _allowed(throttle.limit, latency), _allowed((throttle.limit or 0) + 1, latency)
    if allowed is None or more is None:
        return Advice(sentence, setting)
    pace = throttle.requests_per_minute
    if pace is not None and more > pace:
        more = pace
    gain = f"; one more would allow about {more:.0f}, if the GPU has room for it" if more > allowed else ""
    return Advice(
        f"{sentence}; at {seconds_text(latency)} a request that is about {allowed:.0f} a minute{gain}", setting
    )


def _model(phase: str, share: str, throttle: Throttle, latency: float | None, elapsed: float) -> Advice:
    what = "the model's writing" if phase == "generate" else "the model's queue and its reading of prompts"
    sentence = f"{what}: tasks spend {share} on it"
    used = None
    if throttle.limit and latency:
        used = throttle.starts_last_minute / elapsed * latency / throttle.limit
    if used is not None and used < SLOTS_BUSY and not throttle.waiting:  # whoever is in line would fill it already
        fill = "more consumers would fill the others: CONCURRENT_CONSUMERS_PER_WORKER"
        return Advice(f"{sentence}, with {used:.0%} of the slots in use; {fill}", "CONCURRENT_CONSUMERS_PER_WORKER")
    return Advice(f"{sentence}; that is the GPU's own speed")


def _allowed(slots: int | None, latency: float | None) -> float | None:
    """Requests a minute that so many slots finish at this latency."""
    return slots * 60.0 / latency if slots and latency else None


def _assigned(setting: str, value: float | None) -> str:
    return setting if value is None else f"{setting}={value:g}"


_CONSUMERS = "CONCURRENT_CONSUMERS_PER_WORKER"
_OTHERS: Mapping[str, tuple[str, str, str]] = {
    "wait_circuit": ("the circuit, which was open", "the model server failed, or it was an operator's order", ""),
    "server_pause": ("pauses", "the server's, an operator's, or for a setting to be put right", ""),
    "backoff": ("waits between retries of failed model calls", "see the lines llm_retry", ""),
    "host_delay": ("politeness to the sites (FETCH_DELAY)", "pages of more hosts at once would use it", "FETCH_DELAY"),
    "fetch": ("the sites' own speed", f"more consumers fetch beside each other: {_CONSUMERS}", _CONSUMERS),
    "clean": ("the CPU, reading pages", "WORKERS uses more cores", "WORKERS"),
    "validate": ("the CPU, checking answers", "WORKERS uses more cores", "WORKERS"),
    "store": ("the results database, RESULTS_URL", "is its disk slow?", "RESULTS_URL"),
}
"""What it is, what would help, and the setting for it."""
