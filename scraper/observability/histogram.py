"""Durations in a fixed number of buckets: quantiles that are right to about five percent, in constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import ceil, log10
from typing import Self

PER_DECADE = 24
"""Each bucket ends 10 % above the one before; decades end on a bucket, so that sums by decade parts are exact."""
SHORTEST, LONGEST = -3 * PER_DECADE, 4 * PER_DECADE  # 1 ms to 10,000 s; what lies beyond counts as these


class Histogram:
    """How often which duration was seen. Two of them add up to one."""

    def __init__(self) -> None:
        self.buckets: Counter[int] = Counter()
        self.total_seconds = 0.0

    def add(self, seconds: float) -> None:
        bucket = SHORTEST if seconds <= 0 else ceil(log10(seconds) * PER_DECADE - 1e-9)
        self.buckets[min(LONGEST, max(SHORTEST, bucket))] += 1
        self.total_seconds += max(0.0, seconds)

    @property
    def count(self) -> int:
        return self.buckets.total()

    @property
    def mean(self) -> float | None:
        return self.total_seconds / self.count if self.buckets else None

    def quantile(self, share: float) -> float | None:
        """The duration that `share` of all stay below; None before the first."""
        wanted, seen = share * self.count, 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return float(10 ** ((bucket - 0.5) / PER_DECADE))
        return None

    def at_most(self, bucket: int) -> int:
        """How many lie in `bucket` and below."""
        return sum(count for each, count in self.buckets.items() if each <= bucket)

    def merge(self, other: Histogram) -> None:
        self.buckets.update(other.buckets)
        self.total_seconds += other.total_seconds

    def since(self, before: Histogram) -> Histogram:
        """What came after `before`, an earlier state of the same."""
        new = Histogram()
        new.buckets = self.buckets - before.buckets
        new.total_seconds = max(0.0, self.total_seconds - before.total_seconds)
        return new

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {"seconds": round(self.total_seconds, 4), "buckets": dict(self.buckets)}

    @classmethod
    def of(cls, plain: Mapping[str, object]) -> Self:
        """What `plain` gave, also after JSON made words of its numbers. Raises ValueError, TypeError or KeyError."""
        made = cls()
        buckets = plain["buckets"]
        if not isinstance(buckets, Mapping):
            raise TypeError("not the buckets of a histogram")
        made.buckets.update({int(bucket): int(count) for bucket, count in buckets.items()})
        made.total_seconds = float(str(plain["seconds"]))
        return made
