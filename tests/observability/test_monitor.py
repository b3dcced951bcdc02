import os
import threading

import pytest

from scraper.observability.monitor import LONGEST_LINE, LogReader, Outlet, followed
from tests.observability.facts import STARTED, answer, line, received, request, settled

AT = 1_700_000_000.0


def log(tasks, *, first=0):
    """The lines of that many tasks, three seconds apart."""
    lines = [line(STARTED, at=AT)]
    for number in range(first, first + tasks):
        at, task = AT + number * 3, {"task_id": f"t{number}"}
        lines += [
            line(received(f"t{number}"), at=at),
            line(request(), at=at, **task),
            line(answer(), at=at + 2, **task),
        ]
        lines.append(line(settled(task_id=f"t{number}", wait_rate=7.0, generate=3.0), at=at + 2))
    return "".join(f"{each}\n" for each in lines).encode()


@pytest.fixture
def passed():
    return []


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_lines_are_found_in_chunks_of_any_size(passed, size):
    reader, text = LogReader(pass_on=passed.append), b"Traceback:\n" + log(12) + b"  no end"
    for start in range(0, len(text), size):
        reader.take(text[start : start + size])
    reader.end()
    assert reader.view().done == 12
    assert b"".join(passed) == b"Traceback:\n  no end"


def test_what_is_no_log_line_passes_untouched_and_in_order(passed):
    others = [
        b"\xff\xfe\x00 bytes\r\n",
        b"\n",
        b'{"json": "but no event"}\n',
        b'["list"]\n',
        b"\x1b[31mred\x1b[0m\n",
        b"{broken\n",
    ]
    reader = LogReader(pass_on=passed.append)
    for other in others:
        reader.take(other + log(1))
    assert passed == others


def test_a_line_without_end_costs_bounded_memory_and_passes_whole(passed):
    reader, endless = LogReader(pass_on=passed.append), b"x" * (1 << 16)
    for _ in range(40):
        reader.take(endless)
    assert max(map(len, passed)) <= LONGEST_LINE + len(endless)
    reader.take(b"end\n" + log(1))
    assert b"".join(passed) == endless * 40 + b"end\n"
    assert reader.view().done == 1


def test_every_ten_requests_are_told_once(passed):
    told = []
    reader = LogReader(pass_on=passed.append, every=10, on_requests=told.append)
    reader.take(log(35))
    assert [view.counts["attempts"] for view in told] == [10, 20, 30]


def test_an_old_log_is_shown_by_its_own_clock(passed):
    reader = LogReader(pass_on=passed.append)
    reader.take(log(100))
    view = reader.view()
    assert view.throttle.starts_last_minute == 20
    assert view.throttle.gaps == (0, 0, 99, 0, 0, 0, 0)


# --- following a file ------------------------------------------------------------------------------------------------


class Following:
    """A thread that reads what is followed, and a way to wait until it has read something."""

    def __init__(self, path):
        self.read, self._more, self._stopped = b"", threading.Condition(), threading.Event()
        self._thread = threading.Thread(target=self._work, args=[path])
        self._thread.start()

    def _work(self, path):
        for chunk in followed(path, stopped=self._stopped):
            with self._more:
                self.read += chunk
                self._more.notify_all()

    def until(self, text):
        with self._more:
            assert self._more.wait_for(lambda: text in self.read, timeout=300), self.read

    def stop(self):
        self._stopped.set()
        self._thread.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scraper.log"


@pytest.fixture
def following(path):
    following = Following(path)
    yield following
    following.stop()


def append(path, text):
    with path.open("ab") as file:
        file.write(text)


def test_a_file_is_followed_from_its_beginning_even_before_there_is_one(path, following):
    append(path, b"first\n")
    following.until(b"first\n")
    append(path, b"second\n")
    following.until(b"second\n")
    assert following.read == b"first\nsecond\n"


def test_a_rotated_file_is_read_to_its_end_and_then_its_successor(path, following):
    append(path, b"old\n")
    following.until(b"old\n")
    with path.open("ab") as file:
        path.rename(path.with_suffix(".1"))
        file.write(b"late\n")
        file.flush()
        append(path, b"new\n")
        following.until(b"new\n")
    assert following.read == b"old\nlate\nnew\n"


def test_a_file_that_is_cut_is_read_from_its_new_beginning(path, following):
    append(path, b"a long first line\n")
    following.until(b"a long first line\n")
    os.truncate(path, 0)
    append(path, b"new\n")
    following.until(b"new\n")
    assert following.read == b"a long first line\nnew\n"


def test_without_following_it_ends_with_the_file(path):
    append(path, b"all\n")
    assert b"".join(followed(path, stopped=threading.Event(), to_the_end=True)) == b"all\n"


# --- writing ---------------------------------------------------------------------------------------------------------


def test_a_reader_that_does_not_read_slows_nobody_and_costs_bounded_memory():
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    for _ in range(200):
        outlet.write(b"x" * 100_000 + b"\n")  # 20 MB; a pipe holds 64 KiB
    os.close(reading)
    outlet.end(seconds=30)
    assert outlet.closed.is_set()
    os.close(writing)


def test_what_was_written_comes_whole_and_in_order():
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    for number in range(1000):
        outlet.write(f"{number}\n".encode())
    outlet.end(seconds=30)
    os.close(writing)
    with os.fdopen(reading) as reader:
        assert [int(each) for each in reader] == list(range(1000))
