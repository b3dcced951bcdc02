import pytest

from scraper.throttle import verdict
from scraper.throttle.verdict import Again, Effect, Ending, ending_of_status


@pytest.mark.parametrize(
    ("status", "again", "effect"),
    [
        (200, Again.DONE, Effect.SUCCESS),
        (408, Again.RETRY, Effect.NEUTRAL),
        (429, Again.RETRY, Effect.ALIVE),
        *((status, Again.RETRY, Effect.FAILURE) for status in (500, 501, 502, 503, 504, 529, 599)),
        *((status, Again.NEVER, Effect.NEUTRAL) for status in (400, 413, 422)),
        *((status, Again.WAIT, Effect.NEUTRAL) for status in (401, 403, 404, 405, 301, 302, 307, 308)),
        (204, Again.RETRY, Effect.FAILURE),
        (418, Again.RETRY, Effect.NEUTRAL),
    ],
)
def test_a_status_does_what_the_table_says(status, again, effect):
    ending = ending_of_status(status)
    assert (ending.again, ending.effect) == (again, effect)


@pytest.mark.parametrize(
    ("ending", "again", "effect"),
    [
        (Ending.NO_ANSWER, Again.RETRY, Effect.FAILURE),
        (Ending.NOT_A_COMPLETION, Again.RETRY, Effect.FAILURE),
        (Ending.CANCELLED, Again.NEVER, Effect.NONE),
        (Ending.UNSENT, Again.WAIT, Effect.NONE),
        (Ending.UNHEALTHY, Again.WAIT, Effect.FAILURE),
        (Ending.OUT_OF_TIME, Again.NEVER, Effect.NEUTRAL),
    ],
)
def test_an_ending_without_a_status_does_what_the_table_says(ending, again, effect):
    assert (ending.again, ending.effect) == (again, effect)


def test_every_ending_has_its_row_in_the_table_and_does_what_stands_there():
    lines = [line for line in (verdict.__doc__ or "").splitlines() if line.startswith("| ")]
    _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    again = {"done": Again.DONE, "yes": Again.RETRY, "waits": Again.WAIT, "never": Again.NEVER, "no": Again.NEVER}
    assert {name: (again[then], breaker) for name, _, then, breaker in rows} == {
        ending.name: (ending.again, ending.effect.value) for ending in Ending
    }


def test_only_what_was_sent_costs_pace():
    assert {ending for ending in Ending if not ending.was_sent} == {Ending.UNHEALTHY, Ending.UNSENT}
