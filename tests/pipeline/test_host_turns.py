import multiprocessing
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest

from scraper.errors import Misconfigured
from scraper.pipeline.host_turns import MAX_PUSH_SECONDS, PRUNE_EVERY, HostTurns, Turn


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "turns.sqlite"


@pytest.fixture
def turns(path, clock):
    turns = HostTurns(path, clock=clock, boot="this")
    yield turns
    turns.close()


def in_time(seconds):
    return Turn(seconds, reserved=True)


def too_far(seconds):
    return Turn(seconds, reserved=False)


def take(turns, host="a.com", delay=1.0, limit=5.0):
    return turns.take(host, delay_seconds=delay, max_wait_seconds=limit)


def test_the_first_turn_is_at_once_and_the_next_ones_a_delay_apart(turns):
    assert [take(turns) for _ in range(3)] == [in_time(0.0), in_time(1.0), in_time(2.0)]


def test_hosts_do_not_wait_for_each_other(turns):
    take(turns)
    assert take(turns, "b.com") == in_time(0.0)


def test_a_turn_too_far_away_reserves_nothing(turns):
    for _ in range(6):
        take(turns)
    assert take(turns) == too_far(6.0)
    assert take(turns) == too_far(6.0)


def test_a_host_that_rested_long_enough_owes_no_wait(turns, clock):
    take(turns, delay=60.0)
    assert take(turns, delay=60.0) == too_far(60.0)
    clock.now += 60
    assert take(turns, delay=60.0) == in_time(0.0)


def test_a_site_that_asks_for_rest_gets_it_from_everyone(turns, path, clock):
    take(turns)
    turns.push("a.com", seconds=120)
    other = HostTurns(path, clock=clock, boot="this")
    assert take(other) == too_far(120.0)
    assert take(other, delay=0.0) == too_far(120.0)
    other.close()


def test_asking_for_less_rest_than_before_changes_nothing(turns):
    turns.push("a.com", seconds=120)
    turns.push("a.com", seconds=1)
    turns.push("a.com", seconds=-5)
    assert take(turns) == too_far(120.0)


def test_no_site_keeps_everyone_away_for_more_than_an_hour(turns):
    turns.push("a.com", seconds=10**9)
    assert take(turns) == too_far(MAX_PUSH_SECONDS)


def test_without_a_delay_nobody_waits(turns):
    assert [take(turns, delay=0.0) for _ in range(3)] == [in_time(0.0)] * 3


def test_moments_of_another_boot_mean_nothing(turns, path, clock):
    turns.push("a.com", seconds=3000)
    rebooted = HostTurns(path, clock=clock, boot="next")
    assert take(rebooted) == in_time(0.0)
    rebooted.close()


def test_a_moment_that_no_push_can_explain_means_nothing(turns, clock):
    turns.push("a.com", seconds=3600)
    clock.now -= 10_000  # the clock began anew and the system has no boot id
    assert take(turns) == in_time(0.0)


def test_hosts_whose_moment_has_passed_are_forgotten(turns, path, clock):
    for number in range(PRUNE_EVERY):
        take(turns, f"{number}.com")
    clock.now += 10
    take(turns)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM host_turns").fetchone() == (1,)
    db.close()


NO_DATABASE = b"this is not a database, whatever its name says " * 100


def damaged_within(path):
    """A database whose header is right and whose table is not, as where a power cut tore its pages."""
    HostTurns(path, clock=Clock(), boot="before").close()
    pages = path.read_bytes()
    path.write_bytes(pages[:4096] + b"\xff" * (len(pages) - 4096))
    return path


@pytest.mark.parametrize("damage", ["all of it", "its pages"])
def test_a_table_that_a_power_cut_damaged_is_made_anew(path, clock, damage):
    path.parent.mkdir()
    if damage == "its pages":
        damaged_within(path)
    else:
        path.write_bytes(NO_DATABASE)
    with closing(HostTurns(path, clock=clock)) as first, closing(HostTurns(path, clock=clock)) as second:
        assert take(first) == in_time(0)
        assert take(second) == in_time(1)


def test_processes_that_find_it_damaged_together_share_the_one_that_is_made(path, clock):
    path.parent.mkdir()
    path.write_bytes(NO_DATABASE)
    with ThreadPoolExecutor(8) as threads, ExitStack() as stack:
        opened = list(threads.map(lambda _: HostTurns(path, clock=clock), range(8)))
        for each in opened:
            stack.callback(each.close)
        assert sorted(take(each, limit=10).wait_seconds for each in opened) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_table_that_cannot_be_opened_stops_start_up_and_names_the_setting_and_the_file(path, clock):
    path.mkdir(parents=True)
    with pytest.raises(Misconfigured, match=r"RUN_DIR.*turns\.sqlite"):
        HostTurns(path, clock=clock)


def test_a_run_dir_that_cannot_be_made_stops_start_up(tmp_path, clock):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(Misconfigured, match="RUN_DIR"):
        HostTurns(tmp_path / "run" / "turns.sqlite", clock=clock)


def test_two_threads_never_get_the_same_turn(path, clock):
    def many(_):
        turns = HostTurns(path, clock=clock, boot="this")
        waits = [take(turns, limit=1e9).wait_seconds for _ in range(50)]
        turns.close()
        return waits

    many(0)
    with ThreadPoolExecutor(4) as threads:
        waits = sorted(wait for batch in threads.map(many, range(4)) for wait in batch)
    assert waits == [50.0 + number for number in range(200)]


def _waits(path, count):
    turns = HostTurns(path, clock=lambda: 1000.0)
    waits = [take(turns, limit=1e9).wait_seconds for _ in range(count)]
    turns.close()
    return waits


def test_processes_of_one_machine_share_the_turns_of_a_host(path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        batches = pool.starmap(_waits, [(path, 100)] * 2)
        pool.close()
        pool.join()
    assert sorted(wait for batch in batches for wait in batch) == [float(number) for number in range(200)]


def test_a_commit_that_fails_does_not_spoil_the_next_turn(turns):
    class FullOnce:
        """The real connection, whose first commit fails as on a full disk."""

        def __init__(self, db):
            self.db, self.full = db, True

        def __getattr__(self, name):
            return getattr(self.db, name)

        def execute(self, statement, *values):
            if statement == "COMMIT" and self.full:
                self.full = False
                raise sqlite3.OperationalError("database or disk is full")
            return self.db.execute(statement, *values)

    turns._db = FullOnce(turns._db)
    with pytest.raises(sqlite3.OperationalError):
        turns.take("a.example", delay_seconds=1, max_wait_seconds=5)
    assert turns.take("a.example", delay_seconds=1, max_wait_seconds=5) == in_time(0)


def test_a_table_in_a_folder_that_others_may_write_to_is_refused(path, clock):
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(Misconfigured, match=r"RUN_DIR=.*everybody may write"):
        HostTurns(path, clock=clock)
    assert list(path.parent.iterdir()) == []
