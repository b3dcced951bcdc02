"""A disk that is full must refuse what is written, or the row about full disks proves nothing."""

import os
import subprocess
import sys

import pytest

from tests.chaos.disk import MEBIBYTE, Quota, small_disk

WRITER = """
import sys
for line in sys.stdin:
    try:
        with open(line.strip(), "ab", buffering=0) as file:
            print(file.write(bytes(1 << 20)), flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


@pytest.fixture
def writer():
    """A process that appends a mebibyte to the files it is told, and says how many bytes got in, or the error."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def write(file):
            process.stdin.write(f"{file}\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        write.pid = process.pid
        yield write


def test_a_small_disk_refuses_what_is_written_while_it_is_full(tmp_path, writer):
    folder = tmp_path / "data"
    with small_disk(folder, processes=lambda: [writer.pid], mebibytes=8) as disk:
        assert writer(folder / "file") == MEBIBYTE
        disk.fill()
        assert 0 < writer(folder / "file") < MEBIBYTE  # ENOSPC, or EFBIG
        disk.make_room()
        assert writer(folder / "file") == MEBIBYTE
    assert not os.path.ismount(folder)


def test_a_quota_does_where_mounting_is_not_allowed(tmp_path, writer):
    disk = Quota(tmp_path, lambda: [writer.pid])
    assert writer(tmp_path / "file") == MEBIBYTE
    disk.fill()
    assert 0 < writer(tmp_path / "file") < MEBIBYTE
    disk.make_room()
    assert writer(tmp_path / "file") == MEBIBYTE
