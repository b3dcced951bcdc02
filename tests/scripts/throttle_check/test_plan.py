import dataclasses

import pytest

from throttle_check import plan
from throttle_check.plan import FASTEST_PER_MINUTE, Limits

OWNERS = Limits(2, 20, 5, 1.0, 60.0, 5, 60.0)
ODD = [
    dataclasses.replace(OWNERS, max_concurrent=1024, requests_per_minute=60_000),
    dataclasses.replace(OWNERS, max_concurrent=64, requests_per_minute=1),
    dataclasses.replace(OWNERS, max_retries=100, base_backoff=0.01, max_backoff=0.01),
    dataclasses.replace(OWNERS, max_retries=0, threshold=1, timeout=0.5),
    dataclasses.replace(OWNERS, max_retries=20, base_backoff=60, threshold=100, timeout=3600),
]


@pytest.mark.parametrize("limits", [OWNERS, *ODD])
def test_whatever_the_settings_every_trial_takes_a_few_seconds(limits):
    slots, paced = plan.slots(limits), plan.pace(limits)
    rounds = -(-slots.calls // limits.max_concurrent)
    assert slots.calls * slots.limits.interval + rounds * slots.answer_seconds < 10
    assert paced.calls * paced.limits.interval < 5
    breaker = plan.breaker(limits)
    assert breaker.limits.threshold * breaker.limits.interval + 2 * breaker.limits.timeout < 6
    backoff = plan.backoff(limits).limits
    assert sum(min(backoff.max_backoff, backoff.base_backoff * 2.0**n) for n in range(backoff.max_retries)) < 5


@pytest.mark.parametrize("limits", [OWNERS, *ODD])
def test_no_trial_is_faster_than_settings_may_be(limits):
    for trial in (plan.slots(limits), plan.pace(limits), plan.breaker(limits), plan.backoff(limits)):
        assert trial.limits.requests_per_minute <= FASTEST_PER_MINUTE * (1 + 1e-9)


def test_scaled_limits_are_the_owners_in_another_time():
    trial = plan.pace(OWNERS)
    assert trial.limits.interval * trial.scale == pytest.approx(OWNERS.interval)
    assert trial.limits.max_concurrent == OWNERS.max_concurrent
    assert plan.breaker(OWNERS).limits.timeout * plan.breaker(OWNERS).scale == pytest.approx(OWNERS.timeout)


def test_in_real_time_nothing_is_scaled():
    trials = [trial(OWNERS, real_time=True) for trial in (plan.slots, plan.pace, plan.breaker, plan.backoff)]
    assert [trial.scale for trial in trials] == [1.0] * 4
    assert trials[2].limits == OWNERS
    assert 120 < plan.seconds(OWNERS) < 600


def test_slow_answers_make_the_slots_the_limit():
    trial = plan.slots(OWNERS)
    assert trial.answer_seconds > trial.limits.max_concurrent * trial.limits.interval
