from typing import get_args

from scraper.observability import time_spent
from scraper.trace import Phase


def test_every_phase_has_its_words():
    assert set(time_spent.PHASES) == set(get_args(Phase))


def test_the_longest_phase_comes_first_and_crumbs_are_left_out():
    lines = list(time_spent.lines({"fetch": 1.0, "generate": 3.0, "store": 0.001}))
    assert [line.split()[:2] for line in lines] == [["generate", "75%"], ["fetch", "25%"]]


def test_nothing_spent_is_no_line():
    assert list(time_spent.lines({})) == list(time_spent.lines({"fetch": 0.0})) == []


def test_every_line_fits_a_terminal_of_80_columns():
    assert max(len(line) for phase in time_spent.PHASES for line in time_spent.lines({phase: 1.0})) < 80
