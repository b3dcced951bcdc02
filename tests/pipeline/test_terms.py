import pytest

from scraper.pipeline.terms import LONGER, first_terms, tokens_in_time

TERMS = first_terms(1000)


@pytest.mark.parametrize(("room", "tokens"), [(100_000, LONGER * 1000), (2500, 2500), (1250, 1250)])
def test_what_was_cut_off_may_be_as_long_as_there_is_room(room, tokens):
    assert TERMS.after_cut("{", room=room).max_tokens == tokens


@pytest.mark.parametrize("room", [1200, 900, -5])
def test_a_little_more_room_is_not_worth_another_ask(room):
    assert TERMS.after_cut("{", room=room) is None


def test_the_most_there_may_be_is_counted_from_the_first_ask():
    longest = TERMS.after_cut("{", room=100_000)
    assert longest.after_cut("{", room=100_000) is None


def test_space_is_asked_away_once():
    spaced = '{\n        "a": 1,\n        "b": 2'
    compact = TERMS.after_cut(spaced, room=900)
    assert compact.max_tokens == 1000
    assert compact.reminder
    assert compact.after_cut(spaced, room=900) is None


def test_every_change_after_a_runaway_is_another():
    first, second = TERMS.after_runaway(1), TERMS.after_runaway(2)
    assert len({str(each) for each in (TERMS, first, second)}) == 3
    assert first.max_tokens == second.max_tokens == 1000


def test_more_tokens_take_more_time():
    assert tokens_in_time(1000, took_seconds=10, attempt_seconds=100) == 8000
    assert tokens_in_time(1000, took_seconds=0, attempt_seconds=100) == LONGER * 1000
