"""Where processes meet, who hosts, and what is remembered: the files of the shared throttle."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from grp import struct_group
from pwd import struct_passwd

import pytest

from scraper.errors import Misconfigured
from scraper.throttle.election import Seat, holder_of
from scraper.throttle.forked import keep_from_children
from scraper.throttle.run_dir import MeetingPlace, endpoint_key
from scraper.throttle.snapshot_file import PLACE_BYTES, SnapshotFile, Unusable

URL = "http://localhost:8000/v1"


# --- the endpoint's name ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "HTTP://LOCALHOST:8000",
        "http://127.0.0.1:8000/v1/",
        "http://127.9.9.9:8000/v1",
        "http://127.1:8000/v1",
        "http://0x7f000001:8000/v1",
        "http://[::1]:8000/v1",
        "http://[::ffff:127.0.0.1]:8000/v1",
        "http://0.0.0.0:8000/other",
        "http://localhost.:8000/v1",
        "http://user:word@localhost:8000/v1",
        "http://gpu.localhost:8000",
    ],
)
def test_all_names_of_this_host_are_one_endpoint(url):
    assert endpoint_key(url) == "http://loopback:8000"


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://gpu/v1", "http://gpu:80"),
        ("https://GPU.example./v1", "https://gpu.example:443"),
        ("http://[2001:DB8::0001]:8000", "http://2001:db8::1:8000"),
        ("http://10.0.0.5:8001", "http://10.0.0.5:8001"),
        ("http://bücher.example:8000", "http://xn--bcher-kva.example:8000"),
        ("http://xn--bcher-kva.example:8000", "http://xn--bcher-kva.example:8000"),
    ],
)
def test_other_endpoints_are_told_apart_by_scheme_host_and_port(url, key):
    assert endpoint_key(url) == key


@pytest.mark.parametrize("url", ["", "localhost:8000", "http:///v1", "ftp://gpu/v1"])
def test_what_names_no_server_is_refused(url):
    with pytest.raises(Misconfigured, match="VLLM_BASE_URL"):
        endpoint_key(url)


# --- the folder ---------------------------------------------------------------------------------------------------


def test_the_folder_is_made_for_its_user_alone(tmp_path):
    MeetingPlace.of(URL, tmp_path / "deep" / "run")
    assert (tmp_path / "deep" / "run").stat().st_mode & 0o777 == 0o700


def test_endpoints_have_files_of_their_own_and_names_of_one_endpoint_the_same(tmp_path):
    assert MeetingPlace.of(URL, tmp_path) == MeetingPlace.of("http://127.0.0.1:8000", tmp_path)
    assert MeetingPlace.of(URL, tmp_path) != MeetingPlace.of("http://127.0.0.1:8001", tmp_path)


def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(Misconfigured, match=r"RUN_DIR=.*everybody may write"):
        MeetingPlace.of(URL, tmp_path)


@pytest.mark.parametrize(
    ("name", "members", "alone"),
    [("me", [], True), ("me", ["me"], True), ("me", ["me", "eve"], False), ("users", [], False)],
)
def test_a_folder_that_a_group_may_write_to_is_refused_unless_it_is_its_users_private_one(
    name, members, alone, tmp_path, monkeypatch
):
    gid = tmp_path.stat().st_gid
    monkeypatch.setattr("scraper.host.getpwuid", lambda uid: struct_passwd(("me", "x", uid, gid, "", "/", "/bin/sh")))
    monkeypatch.setattr("scraper.host.getgrgid", lambda gid: struct_group((name, "x", gid, members)))
    tmp_path.chmod(0o770)
    with nullcontext() if alone else pytest.raises(Misconfigured, match=r"RUN_DIR=.*group \d+ may write.*chmod 700"):
        MeetingPlace.of(URL, tmp_path)


def test_a_group_that_nobody_knows_is_nobodys_private_one(tmp_path, monkeypatch):
    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr("scraper.host.getpwuid", unknown)
    tmp_path.chmod(0o770)
    with pytest.raises(Misconfigured, match="may write there"):
        MeetingPlace.of(URL, tmp_path)


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(Misconfigured, match=rf"RUN_DIR=.*belongs to user {me}"):
        MeetingPlace.of(URL, tmp_path)


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(Misconfigured, match="RUN_DIR"):
        MeetingPlace.of(URL, tmp_path / "run")


def test_a_path_too_long_for_a_socket_is_refused(tmp_path):
    with pytest.raises(Misconfigured, match="too long"):
        MeetingPlace.of(URL, tmp_path / ("x" * 100))


# --- the seat -----------------------------------------------------------------------------------------------------


def test_one_holds_the_seat_and_it_is_free_when_it_is_left(tmp_path):
    seat = Seat.take(tmp_path / "lock")
    assert Seat.take(tmp_path / "lock") is None
    assert holder_of(tmp_path / "lock") == os.getpid()
    seat.leave()
    again = Seat.take(tmp_path / "lock")
    assert again.is_valid()
    again.leave()


def test_a_seat_whose_file_was_removed_is_no_seat(tmp_path):
    seat = Seat.take(tmp_path / "lock")
    (tmp_path / "lock").unlink()
    assert not seat.is_valid()
    other = Seat.take(tmp_path / "lock")
    assert other.is_valid()
    assert not seat.is_valid()
    seat.leave()
    other.leave()


def test_a_killed_process_leaves_its_seat_to_the_next(tmp_path):
    code = "import sys, time; from pathlib import Path; from scraper.throttle.election import Seat\nseat = Seat.take(Path(sys.argv[1])); print(bool(seat), flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "lock"], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"True\n"
        assert Seat.take(tmp_path / "lock") is None
        process.kill()
        process.wait()
    seat = Seat.take(tmp_path / "lock")
    assert seat is not None
    seat.leave()


def test_a_lock_that_is_a_link_to_somewhere_else_is_refused(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Misconfigured, match="RUN_DIR"):
        Seat.take(tmp_path / "lock")


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(Misconfigured, match=r"RUN_DIR=.*no file locks"):
        Seat.take(tmp_path / "lock")


def test_a_forked_child_does_not_keep_its_parents_seat(tmp_path):
    seat = Seat.take(tmp_path / "lock")
    (ended, end), (began, begin) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:  # lives on until the pipe closes
        os.close(end)
        os.write(begin, b"x")
        os.read(ended, 1)
        os._exit(0)
    os.read(began, 1)
    seat.leave()
    after = Seat.take(tmp_path / "lock")
    os.close(end)
    os.waitpid(child, 0)
    for pipe in (ended, began, begin):
        os.close(pipe)
    assert after is not None
    after.leave()


def test_what_was_closed_before_the_fork_is_left_alone(tmp_path):
    class Closed:
        def fileno(self):
            return -1

    closed = Closed()
    keep_from_children(closed)
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


# --- the snapshot -------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


def write(path, *contents, boot="this"):
    file = SnapshotFile(path, boot=boot)
    for content in contents:
        file.write(content)
    file.close()


def read(path, boot="this"):
    file = SnapshotFile(path, boot=boot)
    try:
        return file.read()["n"]
    finally:
        file.close()


def test_what_was_written_last_is_read(path):
    for count in range(1, 6):
        write(path, *({"n": number} for number in range(count)))
        assert read(path) == count - 1


def test_what_has_changed_is_written_beside_what_is_still_the_same(path):
    members = {"a": [1, 2]}
    write(path, *({"n": number, "members": members, "leases": {number: [number]}} for number in range(300, 303)))
    file = SnapshotFile(path, boot="this")
    read_back = file.read()
    file.close()
    assert (read_back["n"], read_back["members"], read_back["leases"]) == (302, members, {"302": [302]})


def test_a_shorter_snapshot_after_a_longer_one_is_whole(path):
    write(path, {"n": 1, "x": "x" * 5000}, {"n": 2, "x": "x" * 5000}, {"n": 3}, {"n": 4})
    assert read(path) == 4


def test_a_write_that_was_cut_short_leaves_the_one_before(path):
    write(path, {"n": 1}, {"n": 2}, {"n": 3})
    with path.open("r+b") as file:
        file.seek(PLACE_BYTES + 60)  # the third went to the second place
        file.write(b"????")
    assert read(path) == 2


def test_writing_goes_on_after_reading(path):
    write(path, {"n": 1}, {"n": 2})
    file = SnapshotFile(path, boot="this")
    file.read()
    file.write({"n": 3})
    file.close()
    assert read(path) == 3


def spoil_both(path):
    path.write_bytes(path.read_bytes().replace(b'"n"', b'"m"'))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.write_bytes(b""), "no snapshot"),
        (lambda path: path.write_bytes(b"\0" * 100), "damaged"),
        (lambda path: path.write_bytes(b"zzz zzz zzz\n{}"), "damaged"),
        (lambda path: path.write_bytes(b"00000000 0000000000000001 ffffffff\n{}"), "damaged"),
        (lambda path: path.write_bytes(os.urandom(4096)), "damaged"),
        (spoil_both, "damaged"),
    ],
)
def test_a_damaged_snapshot_is_no_snapshot(path, spoil, why):
    write(path, {"n": 1}, {"n": 2})
    spoil(path)
    with pytest.raises(Unusable, match=why):
        read(path)


def test_a_snapshot_from_before_a_reboot_is_no_snapshot(path):
    write(path, {"n": 1})
    with pytest.raises(Unusable, match="reboot"):
        read(path, boot="next")


def test_without_a_boot_id_no_snapshot_is_believed(path):
    write(path, {"n": 1}, boot="")
    with pytest.raises(Unusable, match="reboot"):
        read(path, boot="")


def test_a_snapshot_of_another_release_is_no_snapshot(path):
    write(path, {"n": 1, "format": 99})
    with pytest.raises(Unusable, match="version"):
        read(path)


def test_a_thousand_leases_of_256_processes_fit(path):
    leases = {
        number: [10**13, 10**13, 10**17, 99, False, False, 120 * 10**9, "0" * 16]
        for number in range(10**13, 10**13 + 1024)
    }
    members = {f"{number:016x}": [4194304, 10**9, [1024, 60000.0, 5, 60.0]] for number in range(256)}
    write(path, {"n": 1, "leases": leases, "members": members})
    assert read(path) == 1
    assert len(json.dumps([leases, members])) < PLACE_BYTES / 2


def test_what_does_not_fit_is_not_written(path):
    write(path, {"n": 1})
    with pytest.raises(OSError, match="too much"):
        write(path, {"n": 2, "x": "x" * PLACE_BYTES})
    assert read(path) == 1


def test_the_snapshot_is_readable_by_its_user_alone(path):
    write(path, {"n": 1})
    assert path.stat().st_mode & 0o777 == 0o600
