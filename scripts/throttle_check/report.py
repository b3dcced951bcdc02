"""The rows for a person: a table, and the conclusion in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from scraper.testing.gpu_curve import ANSWER_TOKENS, PROMPT_TOKENS, served
from throttle_check.judge import Row
from throttle_check.plan import Limits

_STYLES = {"kept": "green", "BROKEN": "bold red", "not measured": "dim"}
_TRIED_SLOTS = (1, 2, 4, 8, 12, 16, 24, 32, 40, 48, 64)


def table(title: str, rows: Sequence[Row]) -> Table:
    drawn = Table(title=title, title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
    for name in ("promise", "asked", "measured at the server", "verdict"):
        drawn.add_column(name, overflow="fold")
    for row in rows:
        verdict = f"[{_STYLES[row.verdict]}]{row.verdict}[/]"
        drawn.add_row(row.what, row.asked, row.measured, verdict + (f": {row.why}" if row.why else ""))
    return drawn


def holds(rows: Sequence[Row]) -> bool:
    return all(row.verdict != "BROKEN" for row in rows)


def conclusion(limits: Limits, rows: Sequence[Row], *, processes: int, surprises: Sequence[str] = ()) -> Iterator[str]:
    """Do the settings protect the server, and what do they leave unused?"""
    broken = [row.what for row in rows if row.verdict == "BROKEN"]
    of_all = "this process" if processes == 1 else f"all {processes} processes together"
    if broken:
        yield f"These settings do NOT protect the model server: broken were {', '.join(broken)}."
    else:
        yield (
            f"These settings protect the model server: it never saw more than {limits.max_concurrent} requests at once "
            f"from {of_all}, nor more than {limits.requests_per_minute:g} starts a minute, and was left alone while it "
            "failed."
        )
    yield from _unused(limits)
    yield from (f"Worth a look: {surprise}" for surprise in surprises)


def _unused(limits: Limits) -> Iterator[str]:
    """By the physics of a simulated GPU, because the owner's cannot be asked for more than it should get."""
    slots, rate = limits.max_concurrent, limits.requests_per_minute
    best_slots, best = max(
        ((tried, served(slots=tried)) for tried in _TRIED_SLOTS), key=lambda found: found[1].per_minute
    )
    by_slots = served(slots=min(slots, max(_TRIED_SLOTS)))
    settled = min(rate, by_slots.per_minute)
    yield (
        f"On a simulated RTX 5090 with an 8B model (pages of {PROMPT_TOKENS:,} tokens, answers of {ANSWER_TOKENS}) "
        f"they allow {settled:.0f} pages a minute. The slots alone would allow {by_slots.per_minute:.0f}, in "
        f"{by_slots.mean_seconds:.1f} s each; the GPU at its best {best.per_minute:.0f}, with {best_slots} in flight "
        f"and {best.mean_seconds:.0f} s each."
    )
    if rate < 0.9 * by_slots.per_minute:
        share = 1.0 - rate / by_slots.per_minute
        yield (
            f"So the pace limits, and leaves {share:.0%} of what the slots could do unused: raising "
            "VLLM_REQUESTS_PER_MINUTE would use it."
        )
    elif slots < best_slots and by_slots.per_minute < 0.9 * min(rate, best.per_minute):
        yield "So the slots limit: raising VLLM_MAX_CONCURRENT would use more of the GPU, and make each page slower."
    elif slots > best_slots:
        yield (
            f"More than {best_slots} in flight makes this GPU slower, not faster: its cache is full, and it begins "
            "requests again. Lower VLLM_MAX_CONCURRENT."
        )
    else:
        yield "Pace and slots fit each other."
