"""A worker's log at the end of a real pipe whose reader is slow, stopped or gone."""

import json
import os
import subprocess
import sys
import threading

import pytest

from scraper.observability.patient_stream import PatientStream

LINES = 5_000
WRITER = f"""
import json, sys
from scraper.events import TaskReceived
from scraper.observability.logs import log_events
observe = log_events(style="json")
for number in range({LINES}):
    observe(TaskReceived(f"task-{{number}}", 1, 0))
print("went on", flush=True)
sys.stdin.readline()
observe(TaskReceived("last", 1, 0))
"""


@pytest.fixture
def writer():
    """A process that writes far more than a pipe holds, says so on stdout, and waits for a line to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


def went_on(process):
    return process.stdout.readline() == b"went on\n"


def test_a_reader_that_does_not_read_stops_nobody(writer):
    assert went_on(writer)


def test_what_waits_for_a_slow_reader_comes_whole_and_in_order(writer):
    assert went_on(writer)
    writer.stdin.close()
    lines = [json.loads(line) for line in writer.stderr]
    assert writer.wait() == 0
    numbers = [int(line["task_id"].removeprefix("task-")) for line in lines if line["task_id"] != "last"]
    assert numbers == sorted(numbers)
    assert len(lines) > LINES / 4


def test_a_reader_that_is_gone_stops_nobody(writer):
    writer.stderr.close()
    assert went_on(writer)
    writer.stdin.close()
    assert writer.wait() == 0


def test_lines_that_were_left_out_are_counted_once_there_is_room():
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb") as reader:
        dropped = []
        patient = PatientStream(stream, dropped=dropped.append)
        written = [f"{number:06} {'x' * 90}\n" for number in range(20_000)]
        for line in written:
            patient.write(line)
            patient.flush()
        assert dropped == []  # there is no room to say so yet
        read = b""
        while not dropped:
            read += os.read(reader.fileno(), 1 << 16)
            patient.flush()
        patient.close()
        stream.close()
        read += reader.read()
    lines = read.decode().splitlines(keepends=True)
    assert set(lines) <= set(written)
    assert lines == sorted(lines)
    assert len(lines) + dropped[0] == len(written)


def test_lines_of_two_threads_come_whole_though_one_is_half_out(monkeypatch):
    """A library's own thread writes between the moment a piece was taken and the moment its rest is put back."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb") as reader:
        patient = PatientStream(stream, dropped=lambda _: None)
        others, write = [], os.write

        def library():
            patient.write("other\n")
            patient.flush()

        def half(pipe, piece):
            if others:
                return write(pipe, piece)
            others.append(threading.Thread(target=library))
            written = write(pipe, piece[:10])
            others[0].start()
            others[0].join(0.5)  # it waits for its turn; where there is none, it is through by then
            return written

        monkeypatch.setattr(os, "write", half)
        patient.write(f"{'x' * 100}\n")
        patient.flush()
        others[0].join()
        patient.flush()
        patient.close()
        stream.close()
        assert sorted(reader.read().decode().splitlines()) == ["other", "x" * 100]


def test_a_line_longer_than_a_pipe_comes_whole():
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb") as reader:
        patient = PatientStream(stream, dropped=lambda _: None)
        written = "".join(f"{number} {'y' * 50_000}\n" for number in range(10))
        patient.write(written)
        read = b""
        while len(read) < len(written):
            patient.flush()
            read += os.read(reader.fileno(), 1 << 16)
        patient.close()
    assert read.decode() == written
