"""The auditor must be able to fail: each kind of breach, put before it, is found and named."""

import dataclasses

import pytest

from tests.chaos.audit import Rules, Seen, Stall, Stored, ahead_of_pace, audit, leaked, most_in

RULES = Rules(max_in_flight=2, interval_seconds=0.05)
EXPECTED = {"a": "done", "b": "done", "c": "bad_task", "d": "crash_loop"}
STORED = [Stored("a", "done"), Stored("b", "done"), Stored("c", "bad_task"), Stored("d", "crash_loop")]
GOOD = Seen(
    stored=STORED,
    exported={each.task_id: each.end for each in STORED},
    max_in_flight=2,
    starts=[10.0, 10.05, 10.1, 10.15],
)


def seen(stored=None, **changes):
    """The good run, with something else in its history or its witnesses."""
    if stored is not None:
        changes = {"stored": stored, "exported": {each.task_id: each.end for each in stored}, **changes}
    return dataclasses.replace(GOOD, **changes)


def without(task_id):
    return [each for each in STORED if each.task_id != task_id]


def test_a_run_that_kept_every_promise_has_no_breach():
    count = audit(EXPECTED, GOOD, RULES)
    assert count.breaches == ()
    assert (count.tasks, count.lost, count.twice, count.done, count.parked, count.poison) == (4, 0, 0, 2, 2, 2)
    assert count.smallest_gap == pytest.approx(0.05)


BROKEN = {
    "a lost task": (seen(without("a")), "a: lost, neither done nor parked (expected: done)"),
    "lost poison": (seen(without("d")), "d: lost, neither done nor parked (expected: crash_loop)"),
    "a task done twice": (seen([*STORED, Stored("b", "done")]), "b: stored 2 times: done, done"),
    "a task parked and then done": (seen([Stored("a", "attempts"), *STORED]), "a: stored 2 times: attempts, done"),
    "a task done and then parked": (
        seen([*STORED, Stored("a", "delivery_limit")]),
        "a: stored 2 times: done, delivery_limit",
    ),
    "a task parked for two reasons": (
        seen([Stored("c", "attempts"), *STORED]),
        "c: stored 2 times: attempts, bad_task",
    ),
    "a task parked twice for the same reason": (
        seen([*STORED, Stored("d", "crash_loop")]),
        "d: stored 2 times: crash_loop, crash_loop",
    ),
    "a bystander parked": (
        seen([*without("a"), Stored("a", "crash_loop")]),
        "a: ended as crash_loop, expected: done",
    ),
    "poison that passed": (seen([*without("c"), Stored("c", "done")]), "c: ended as done, expected: bad_task"),
    "a wrong reason": (
        seen([*without("d"), Stored("d", "delivery_limit")]),
        "d: ended as delivery_limit, expected: crash_loop",
    ),
    "a task from nowhere": (seen([*STORED, Stored("x", "done")]), "x: nobody submitted it"),
    "an export that says something else": (
        seen(exported={"a": "attempts", "b": "done", "c": "bad_task", "d": "crash_loop"}),
        "a: export says attempts, the store done",
    ),
    "an export that leaves one out": (
        seen(exported={"b": "done", "c": "bad_task", "d": "crash_loop"}),
        "a: export says None, the store done",
    ),
    "a message left in a queue": (seen(queued=1), "1 messages are still queued"),
    "an attempt spent on an outage": (
        seen([*without("a"), Stored("a", "done", attempts=2)]),
        "a: done at attempt 2, though nothing was its fault",
    ),
    "a third request in flight": (seen(max_in_flight=3), "3 requests in flight, 2 are allowed"),
    "three starts at once": (
        seen(starts=[10.0, 10.0, 10.0]),
        "requests started 2.00 intervals ahead of the pace, 1.00 can be explained",
    ),
    "a crash of the service": (seen(exit_code=1), "the service ended with exit code 1"),
    "a process left behind": (seen(processes=["17 worker"]), "process left behind: 17 worker"),
    "a file left behind": (seen(files=["tmp/x"]), "file left behind: tmp/x"),
    "a secret in a log": (seen(secrets=["VLLM_API_KEY"]), "secret in a log: VLLM_API_KEY"),
    "a traceback in a log": (seen(tracebacks=["KeyError"]), "traceback in a log: KeyError"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_each_kind_of_breach_is_found_and_named(kind):
    broken, named = BROKEN[kind]
    assert audit(EXPECTED, broken, RULES).breaches == (named,)


def test_what_is_lost_doubled_and_wrongly_parked_is_counted():
    stored = [Stored("b", "done"), Stored("b", "done"), Stored("c", "bad_task"), Stored("d", "attempts")]
    count = audit(EXPECTED, seen(stored), RULES)
    assert (count.lost, count.twice, count.wrongly_parked) == (1, 1, 1)


def test_attempts_may_be_spent_where_the_rules_say_so():
    spent = seen([*without("a"), Stored("a", "done", attempts=3)])
    assert audit(EXPECTED, spent, dataclasses.replace(RULES, attempts_may_be_spent=True)).breaches == ()


@pytest.mark.parametrize(
    ("starts", "ahead"),
    [
        ([], 0),
        ([0.0], 0),
        ([0.0, 1.0, 2.0, 3.0], 0),
        ([0.0, 0.5], 0.5),  # granted at 0 and at 1, the first written late
        ([0.0, 0.0, 1.0, 2.0], 1),
        ([0.0, 5.0, 5.0, 5.0], 2),  # having been idle earns nothing
        ([0.0, 0.9, 1.8, 2.7, 3.6, 4.5, 5.4, 6.3, 7.2, 8.1, 9.0, 9.9, 10.8], 1.2),  # a little too fast, for long
    ],
)
def test_being_ahead_of_the_pace_is_measured_over_every_stretch(starts, ahead):
    assert ahead_of_pace(starts, 1.0) == pytest.approx(ahead)


def test_a_machine_that_lets_programs_wait_explains_as_many_late_starts_as_there_are_slots():
    waited = [Stall(9.0, 10.0, 1.0)]
    bunched = seen(starts=[10.0, 10.0, 10.0], unsteady_seconds=0.05, stalls=waited)
    assert audit(EXPECTED, bunched, RULES).breaches == ()
    bunched = seen(starts=[10.0] * 5, unsteady_seconds=5.0, stalls=waited)
    assert audit(EXPECTED, bunched, RULES).breaches == (
        "requests started 4.00 intervals ahead of the pace, 3.00 can be explained",
    )


PACED = [10.0 + 0.05 * number for number in range(40)]
IMPATIENT = [*PACED[:20], PACED[19] + 0.001, *PACED[20:]]
"""One start more than the pace allows: its client did not wait for it."""
STEADY = [Stall(10.0 + 0.01 * number, 10.01 + 0.01 * number, 0.0004) for number in range(200)]


@pytest.mark.parametrize("unsteady", [0.0, 5.0])
def test_a_client_that_ignores_the_pace_by_one_start_is_found_where_the_machine_was_steady_then(unsteady):
    """However late it was at some other time of the run."""
    elsewhere = [Stall(11.5, 11.7, 0.2)]
    planted = seen(starts=IMPATIENT, stalls=[*STEADY[:140], *elsewhere], unsteady_seconds=unsteady)
    count = audit(EXPECTED, planted, RULES)
    assert len(count.breaches) == 1
    assert count.unexplained > 0.25


@pytest.mark.parametrize(
    ("late", "stalls"),
    [
        (0.024, [Stall(10.96, 10.98, 0.0, busy=0.015)]),  # its worker did something else, while the grant was good
        (0.049, [Stall(10.96, 11.0, 0.04)]),  # its worker had no processor
        (0.049, [Stall(10.99, 10.99, 4.0)]),  # or was stopped until then
        (0.049, [Stall(11.5, 11.5, 1.0), Stall(10.9, 11.6, 0.04)]),  # whatever else happened meanwhile
    ],
)
def test_a_start_that_is_late_is_no_start_too_many(late, stalls):
    starts = sorted([*PACED[:19], PACED[19] + late, *PACED[20:]])
    count = audit(EXPECTED, seen(starts=starts, stalls=stalls), RULES)
    assert (count.breaches, count.unexplained) == ((), 0)


def test_a_start_that_is_later_than_anything_explains_is_a_breach():
    starts = [*PACED[:19], PACED[19] + 0.049, *PACED[20:]]
    assert len(audit(EXPECTED, seen(starts=starts, stalls=STEADY[:10]), RULES).breaches) == 1
    busy = [Stall(10.9, 11.0, 0.0, busy=0.1)]  # a grant is good for no longer than half an interval
    assert len(audit(EXPECTED, seen(starts=starts, stalls=busy), RULES).breaches) == 1


def test_a_pace_that_is_not_kept_at_all_is_no_matter_of_the_machine():
    unpaced = seen(starts=[10 + 0.035 * number for number in range(200)], unsteady_seconds=5.0)
    assert len(audit(EXPECTED, unpaced, RULES).breaches) == 1


def test_the_fullest_minute_is_half_open():
    assert most_in(60.0, [0.0, 30.0, 60.0, 90.0]) == 2
    assert most_in(60.0, []) == 0


def test_a_planted_secret_is_found_anywhere_in_a_log():
    secrets = {"VLLM_API_KEY": "sk-planted", "page": "the kettle of the north"}
    assert leaked('{"error": "401 for sk-planted"}', secrets) == ["VLLM_API_KEY"]
    assert leaked("said: the kettle of the north, twice", secrets) == ["page"]
    assert leaked('{"event": "task_settled"}', secrets) == []
