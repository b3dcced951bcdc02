import asyncio
import json
import socket
from pathlib import Path

from scraper.observability.told import ask_all, telling

ENDPOINT = "http://localhost:8000/v1"


async def test_whoever_asks_gets_the_picture_of_every_supervisor(tmp_path):
    async with telling(ENDPOINT, tmp_path, lambda: {"total": 1}, observe=[].append):
        assert await ask_all(ENDPOINT, tmp_path) == [{"total": 1}]
        assert await ask_all("http://127.0.0.1:8000", tmp_path) == [{"total": 1}]
        assert await ask_all("http://other:8000", tmp_path) == []
    assert await ask_all(ENDPOINT, tmp_path) == []


async def test_supervisors_of_containers_that_share_the_folder_all_answer_though_each_is_process_1(tmp_path):
    async with telling(ENDPOINT, tmp_path, lambda: {"total": 1}, observe=[].append):
        async with telling(ENDPOINT, tmp_path, lambda: {"total": 2}, observe=[].append):
            assert sorted(told["total"] for told in await ask_all(ENDPOINT, tmp_path)) == [1, 2]
        assert await ask_all(ENDPOINT, tmp_path) == [{"total": 1}]


async def test_nobody_but_its_user_can_ask(tmp_path):
    async with telling(ENDPOINT, tmp_path, dict, observe=[].append):
        [path] = tmp_path.glob("main-*.sock")
        assert path.stat().st_mode & 0o777 == 0o600


async def test_what_a_killed_supervisor_left_is_swept_away(tmp_path):
    async with telling(ENDPOINT, tmp_path, dict, observe=[].append):
        [path] = tmp_path.glob("main-*.sock")
    left = path.with_name(f"{path.stem}1.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(left))
    assert await ask_all(ENDPOINT, tmp_path) == []
    assert not left.exists()


async def test_a_supervisor_tidies_up_behind_killed_ones_and_leaves_the_living(tmp_path):
    async with telling(ENDPOINT, tmp_path, dict, observe=[].append):
        [own] = tmp_path.glob("main-*.sock")
    killed, other, living = (
        own.with_name(name) for name in (f"{own.stem}1.sock", "main-0-1.sock", f"{own.stem}2.sock")
    )
    with socket.socket(socket.AF_UNIX) as gone, socket.socket(socket.AF_UNIX) as elsewhere:
        gone.bind(str(killed))
        elsewhere.bind(str(other))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(living))
        listening.listen()
        async with telling(ENDPOINT, tmp_path, dict, observe=[].append):
            [new] = set(tmp_path.glob("main-*.sock")) - {living, other}
            assert new.name.startswith(own.name[:10])


async def test_one_that_is_just_being_made_is_not_taken_for_one_that_was_left(tmp_path, monkeypatch):
    serve = asyncio.start_unix_server

    async def serve_slowly(answer, path):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        await ask_all(ENDPOINT, tmp_path)  # as whoever looks in this moment does
        return await serve(answer, sock=listening)

    monkeypatch.setattr(asyncio, "start_unix_server", serve_slowly)
    async with telling(ENDPOINT, tmp_path, lambda: {"total": 1}, observe=[].append):
        assert await ask_all(ENDPOINT, tmp_path) == [{"total": 1}]
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_takes_no_socket_is_a_warning(tmp_path, monkeypatch):
    async def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")  # as a file system without sockets says it

    monkeypatch.setattr(asyncio, "start_unix_server", refuse)
    said = []
    async with telling(ENDPOINT, tmp_path, dict, observe=said.append):
        assert await ask_all(ENDPOINT, tmp_path) == []
    assert [event.setting for event in said] == ["RUN_DIR"]


async def test_a_big_picture_comes_whole(tmp_path):
    big = {"total": "x" * 3_000_000}
    async with telling(ENDPOINT, tmp_path, lambda: big, observe=[].append):
        assert json.dumps(await ask_all(ENDPOINT, tmp_path)) == json.dumps([big])


async def test_a_socket_that_cannot_be_named_is_a_warning_and_nobody_listens_at_it(tmp_path, monkeypatch):
    def read_only(*_):
        raise OSError(30, "Read-only file system")

    said = []
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", read_only)
        async with telling(ENDPOINT, tmp_path, dict, observe=said.append):
            assert list(tmp_path.iterdir()) == []
    assert "Read-only file system" in said[0].message


async def test_a_socket_that_cannot_be_removed_ends_no_run(tmp_path):
    async with telling(ENDPOINT, tmp_path, dict, observe=[].append):
        [path] = tmp_path.glob("main-*.sock")
        path.unlink()
        path.mkdir()
    assert await ask_all(ENDPOINT, tmp_path) == []
