import signal

import pytest

from scraper.exit_codes import EXIT_NOT_STARTED, exit_in_words, usual_cause


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [(1, "exit code 1"), (-signal.SIGKILL, "signal 9 (SIGKILL)"), (-63, "signal 63")],
)
def test_an_exit_code_is_named_as_people_know_it(exit_code, words):
    assert exit_in_words(exit_code) == words


@pytest.mark.parametrize(
    ("exit_code", "cause", "fix"),
    [
        (1, "package", "pip install --force-reinstall"),
        (3, "package", "ulimit -v"),
        (127, "loader", "ulimit -v"),
        (EXIT_NOT_STARTED, "no process", "ulimit -u"),
        (-signal.SIGKILL, "memory ran out", "WORKERS"),
        (-signal.SIGABRT, "memory ran out", "pip install"),
        (-signal.SIGSYS, "sandbox", "SystemCallFilter"),
    ],
)
def test_every_end_has_a_usual_cause_and_a_fix(exit_code, cause, fix):
    assert cause in usual_cause(exit_code)
    assert fix in usual_cause(exit_code)
