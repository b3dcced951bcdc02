"""Each promise has a way to be broken, and breaking it is seen."""

import pytest

from throttle_check import judge, plan, report
from throttle_check.caller import Record
from throttle_check.plan import Limits, Trial
from throttle_check.trial import Measured

OWNERS = Limits(2, 60, 3, 1.0, 60.0, 5, 60.0)  # a start a second


def measured(starts=(), *, scale=1.0, written=None, **more):
    record = Record(written=list(starts if written is None else written), **more.pop("record", {}))
    return Measured(Trial(OWNERS.faster(scale), scale), record, starts=sorted(starts), **more)


def verdicts(rows):
    return {row.what: row.verdict for row in rows}


def test_one_more_in_flight_than_there_are_slots_is_broken():
    assert judge.slots(OWNERS, measured(max_in_flight=2)).verdict == "kept"
    assert judge.slots(OWNERS, measured(max_in_flight=3)).verdict == "BROKEN"


def test_even_starts_keep_the_pace_and_are_shown_in_the_owners_time():
    rows = judge.pace(OWNERS, measured([number / 10 for number in range(30)], scale=10))
    assert set(verdicts(rows).values()) == {"kept"}
    assert rows[0].measured == "60.0 (100% of it)"
    assert rows[1].measured == "1 s"


def test_two_starts_at_once_are_broken():
    rows = judge.pace(OWNERS, measured([0, 1, 2, 2.1, 4, 5]))
    assert verdicts(rows)["smallest gap of two starts"] == "BROKEN"


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_a_throttle_for_each_process_is_broken(processes):
    starts = [number + process / processes for number in range(20) for process in range(processes)]
    assert verdicts(judge.pace(OWNERS, measured(starts)))["starts in a minute"] == "BROKEN"


def test_a_tenth_more_than_the_pace_is_broken():
    starts = [number / 1.1 for number in range(60)]
    assert verdicts(judge.pace(OWNERS, measured(starts)))["starts in a minute"] == "BROKEN"


def test_what_the_machine_smears_is_no_violation():
    """The server's process stood still for three seconds, and saw what had come meanwhile all at once."""
    written = [float(number) for number in range(20)]
    seen = [8.0 if 5 <= sent <= 8 else sent for sent in written]
    assert set(verdicts(judge.pace(OWNERS, measured(seen, written=written))).values()) == {"kept"}


def test_requests_of_others_are_not_excused_as_smear():
    written = [float(number) for number in range(20)]
    seen = sorted([*written, *(sent + 0.01 for sent in written)])
    assert set(verdicts(judge.pace(OWNERS, measured(seen, written=written))).values()) == {"BROKEN"}


def test_a_server_that_saw_nothing_is_no_success():
    assert verdicts(judge.pace(OWNERS, measured([0.0])))["starts in a minute"] == "BROKEN"


def circuit(*, failures=5, starts=(0, 1, 2, 3, 4, 65, 126), opened=(5.0, 66.0), closed=(127.0,), mended=100.0):
    record = {"opened": [(at, failures + number) for number, at in enumerate(opened)], "closed": list(closed)}
    return verdicts(judge.breaker(OWNERS, measured(starts, record=record, mended_at=mended)))


def test_a_circuit_as_it_should_be_is_kept():
    assert set(circuit().values()) == {"kept"}


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("the circuit opens", {"failures": 4}),
        ("the circuit opens", {"failures": 6}),
        ("the circuit opens", {"opened": ()}),
        ("requests while it is open", {"starts": (0, 1, 2, 3, 4, 30, 65, 126)}),
        ("requests that try it again", {"starts": (0, 1, 2, 3, 4, 65, 65.5, 126)}),
        ("requests that try it again", {"starts": (0, 1, 2, 3, 4, 126)}),
        ("the circuit closes", {"closed": ()}),
        ("the circuit closes", {"mended": None}),
    ],
)
def test_a_circuit_that_does_anything_else_is_broken(what, change):
    assert circuit(**change)[what] == "BROKEN"


def retried(*gaps, told=None):
    starts = [sum(gaps[:number]) for number in range(len(gaps) + 1)]
    record = {"retries": list(enumerate(told or gaps, start=1))}
    return verdicts(judge.backoff(OWNERS, measured(starts, record=record)))


def test_delays_within_the_plan_are_kept():
    assert set(retried(1.0, 1.6, 4.9).values()) == {"kept"}


@pytest.mark.parametrize(
    ("what", "gaps", "told"),
    [
        ("delay before retry 1", (0.5, 2, 4), None),
        ("delay before retry 3", (1, 2, 5.5), None),
        ("delay before retry 2", (1, 0.1, 4), (1, 2, 4)),  # told, and not kept
        ("attempts of a call", (1, 2, 4, 8), None),
        ("attempts of a call", (1, 2), None),
    ],
)
def test_other_delays_and_more_attempts_are_broken(what, gaps, told):
    assert retried(*gaps, told=told)[what] == "BROKEN"


def test_a_delay_that_arrives_late_is_kept_and_the_row_says_by_what_it_was_judged():
    record = {"retries": [(1, 1.2)]}
    _, row = judge.backoff(OWNERS, measured([0, 1.87], record=record))
    assert row.verdict == "kept"
    assert row.asked.endswith(" s drawn; on arrival at least 1.2 s")
    assert row.measured == "1.2 s drawn, 1.87 s on arrival"


def test_a_trial_that_met_trouble_keeps_nothing():
    troubled = measured([0, 1, 2, 3], trouble="a calling process did not answer")
    rows = [judge.slots(OWNERS, troubled), *judge.pace(OWNERS, troubled), *judge.breaker(OWNERS, troubled)]
    assert set(verdicts(rows).values()) == {"BROKEN"}


@pytest.mark.parametrize(
    ("slots", "rate", "words"),
    [
        (2, 20, "the pace limits, and leaves 45%"),
        (2, 600, "the slots limit"),
        (48, 60_000, "More than 32 in flight makes this GPU slower"),
        (2, 36, "fit each other"),
    ],
)
def test_the_conclusion_says_what_limits(slots, rate, words):
    limits = Limits(slots, rate, 5, 1.0, 60.0, 5, 60.0)
    said = " ".join(report.conclusion(limits, [], processes=1))
    assert words in said


def test_the_conclusion_names_what_is_broken():
    rows = [judge.slots(OWNERS, measured(max_in_flight=3))]
    said = list(report.conclusion(OWNERS, rows, processes=4))
    assert "do NOT protect the model server: broken were requests in flight" in said[0]
    assert not report.holds(rows)


def test_the_plan_of_the_trials_is_what_is_judged():
    assert plan.backoff(OWNERS).limits.max_retries == OWNERS.max_retries
