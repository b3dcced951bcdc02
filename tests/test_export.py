import csv
import io
import json
import os
import subprocess
import sys
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scraper.errors import Misconfigured, Unavailable
from scraper.export import as_line, export, tables
from scraper.models import Usage
from scraper.store.sqlite import SqliteStore
from tests.store.results import FULL, done, parked

GOLDEN_DONE = (
    '{"task_id":"the-task","status":"done","url":"https://shop.example:8443/p/1?x=ü",'
    '"data":{"name":"Grüße 😀","price":12.5,"tags":["a","b"],"none":null,"big":1208925819614629174706176,"nul":"a\\u0000b"},'
    '"reason":null,"error":null,"model":"m","usage":{"prompt_tokens":3000,"completion_tokens":200,"cached_tokens":1000},'
    '"calls":2,"attempts":3,"fields":{"name":{"source":"json-ld","grounded":true}},"unsupported":["price"],'
    '"cut":{"characters":10},"cached":true,"timings":{"fetch":0.25,"generate":1.5},'
    f'"content_sha256":"{"ab" * 32}","finished_at":"2026-05-04T03:02:01.123Z","metadata":[1,{{"a":"b"}}]}}\n'
)
GOLDEN_PARKED = (
    '{"task_id":"one","status":"parked","url":null,"data":null,"reason":"page_gone","error":"404","model":null,'
    '"usage":{"prompt_tokens":0,"completion_tokens":0,"cached_tokens":0},"calls":0,"attempts":1,"fields":{},"unsupported":[],'
    f'"cut":null,"cached":false,"timings":{{}},"content_sha256":"{"c" * 64}","finished_at":"2026-05-04T03:02:01.123Z","metadata":null}}\n'
)


@pytest.fixture
async def store(tmp_path):
    async with SqliteStore(tmp_path / "results.db") as store:
        yield store


async def exported(store, kind, **options):
    out = io.BytesIO()
    count = await export(store, out, format=kind, **options)
    return count, out.getvalue()


async def table(store, **options):
    """The CSV as a spreadsheet's reader sees it."""
    _, text = await exported(store, "csv", **options)
    return list(csv.DictReader(io.StringIO(text.decode(), newline="")))


async def test_lines_are_these_to_the_letter(store):
    await store.save(FULL)
    await store.save(parked())
    assert await exported(store, "jsonl") == (2, (GOLDEN_DONE + GOLDEN_PARKED).encode())


async def test_a_status_narrows_the_export(store):
    await store.save(FULL)
    await store.save(parked())
    assert await exported(store, "jsonl", statuses=["parked"]) == (1, GOLDEN_PARKED.encode())
    assert [row["task_id"] for row in await table(store, statuses=["done"])] == ["the-task"]


async def test_an_empty_store_exports_nothing_but_headings(store):
    assert await exported(store, "jsonl") == (0, b"")
    count, text = await exported(store, "csv")
    assert count == 0
    assert text.startswith(b"task_id,status,url,data,reason,error,model,prompt_tokens,")
    assert text.count(b"\r\n") == 1
    _, body = await exported(store, "parquet")
    assert pq.read_table(io.BytesIO(body)).num_rows == 0


def test_lines_stay_json_whatever_a_page_held():
    line = as_line(done(data={"a": "\ud800\n\u2028"}, metadata=float("nan")))
    assert b"\n" not in line
    assert json.loads(line)["data"] == {"a": "\ud800\n\u2028"}
    assert json.loads(line)["metadata"] is None


def test_stamps_are_utc_whatever_zone_they_came_in():
    moment = datetime.fromisoformat("2026-01-01T01:00:00+02:00")
    assert json.loads(as_line(done(finished_at=moment)))["finished_at"] == "2025-12-31T23:00:00.000Z"


async def test_each_field_of_the_data_has_its_column(store):
    await store.save(done("one", data={"name": "A", "price": -1.5, "tags": ["x"], "sold": True, "gone": None}))
    await store.save(done("two", data={"price": 3, "maker": {"name": "B"}}))
    await store.save(parked("three"))
    rows = await table(store)
    assert list(rows[0])[:10] == [
        "task_id", "status", "url", "data.name", "data.price", "data.tags", "data.sold", "data.gone", "data.maker", "data",
    ]  # fmt: skip
    assert [row["data.name"] for row in rows] == ["A", "", ""]
    assert [row["data.price"] for row in rows] == ["-1.5", "3", ""]
    assert [row["data.tags"] for row in rows] == ['["x"]', "", ""]
    assert [row["data.sold"] for row in rows] == ["true", "", ""]
    assert [row["data.maker"] for row in rows] == ["", '{"name":"B"}', ""]
    assert [row["data"] for row in rows] == ["", "", ""]
    assert [row["reason"] for row in rows] == ["", "", "page_gone"]


@pytest.mark.parametrize(
    ("data", "cell"), [([1, 2], "[1,2]"), (0, "0"), (False, "false"), ("text", "text"), ({}, "{}")]
)
async def test_data_that_has_no_fields_is_a_cell(store, data, cell):
    await store.save(done(data=data))
    (row,) = await table(store)
    assert row["data"] == cell


async def test_fields_beyond_the_last_column_are_kept_together(store, monkeypatch):
    monkeypatch.setattr(tables, "MOST_DATA_COLUMNS", 2)
    await store.save(done(data={"a": 1, "b": 2, "c": 3, "d": 4}))
    (row,) = await table(store)
    assert (row["data.a"], row["data.b"], row["data"]) == ("1", "2", '{"c":3,"d":4}')


async def test_fields_that_appear_between_the_passes_lose_nothing(store):
    class Growing:
        passes = 0

        async def results(self, *, statuses):
            self.passes += 1
            yield done(data={"a": 1} if self.passes == 1 else {"a": 1, "late": 2})

    (row,) = await table(Growing())
    assert (row["data.a"], row["data"]) == ("1", '{"late":2}')


@pytest.mark.parametrize("text", ["=1+1", "+49", "-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "=cmd|'/c calc'!A0"])
async def test_text_that_a_spreadsheet_would_run_is_quoted(store, text):
    await store.save(done(text, data={"name": text}, metadata=text, url=text))
    (row,) = await table(store)
    assert [row[name] for name in ("task_id", "url", "data.name", "metadata")] == ["'" + text] * 4


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
async def test_a_terminal_is_not_steered_by_what_is_exported(store, kind):
    hostile = "\x1b]0;title\x07 \x9b2J \x7f \U000e0041"
    await store.save(done("a", data={"name": hostile, hostile: 1, "all": [hostile]}, url=hostile, metadata=hostile))
    await store.save(parked("b", error=hostile))
    _, text = await exported(store, kind)
    assert "title" in text.decode()
    assert not {each for each in text.decode() if unicodedata.category(each) == "Cc"} - {"\r", "\n"}
    if kind == "jsonl":  # where an escape is the character itself
        assert json.loads(text.splitlines()[0])["data"] == {"name": hostile, hostile: 1, "all": [hostile]}


async def test_numbers_stay_numbers(store):
    await store.save(done(data={"price": -12.5, "change": -3, "small": 1e-07}))
    (row,) = await table(store)
    assert (row["data.price"], row["data.change"], row["data.small"]) == ("-12.5", "-3", "1e-07")


async def test_cells_with_quotes_commas_and_line_breaks_come_back_whole(store):
    data = {"text": 'say "hi",\r\nor\nnot\r;', 'sur\nname, "x"': "Ü\ud800"}
    await store.save(done(data=data))
    _, text = await exported(store, "csv")
    assert b'"say ""hi"",\r\nor\nnot\r;"' in text
    (row,) = await table(store)
    assert row["data.text"] == data["text"]
    assert row['data.sur\nname, "x"'] == "Ü\\ud800"


async def test_parquet_has_types_and_comes_back_whole(store):
    await store.save(FULL)
    await store.save(parked(metadata=5))
    _, body = await exported(store, "parquet")
    read = pq.read_table(io.BytesIO(body))
    assert read.schema.field("finished_at").type == pa.timestamp("us", tz="UTC")
    assert read.schema.field("prompt_tokens").type == pa.int64()
    assert read.schema.field("cached").type == pa.bool_()
    first, second = read.to_pylist()
    assert first["finished_at"] == datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
    assert json.loads(first["data"]) == FULL.data
    assert json.loads(first["fields"]) == FULL.fields
    assert (first["prompt_tokens"], first["cached"], first["reason"]) == (3000, True, None)
    assert (second["reason"], second["data"], second["metadata"], second["fields"]) == ("page_gone", None, "5", None)


async def test_parquet_is_written_in_groups(store, monkeypatch):
    monkeypatch.setattr(tables, "GROUP_ROWS", 2)
    for number in range(5):
        await store.save(done(f"id-{number}", error="\ud800", usage=Usage(number)))
    _, body = await exported(store, "parquet")
    file = pq.ParquetFile(io.BytesIO(body))
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [2, 2, 1]
    assert file.read().column("prompt_tokens").to_pylist() == [0, 1, 2, 3, 4]


async def test_parquet_without_pyarrow_says_what_to_install(store, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Misconfigured, match="pip install pyarrow"):
        await export(store, tmp_path / "out.parquet", format="parquet")
    assert not (tmp_path / "out.parquet").exists()


async def test_parquet_is_not_poured_over_a_terminal(store):
    class Terminal(io.BytesIO):
        def isatty(self):
            return True

    with pytest.raises(Misconfigured, match="-o FILE"):
        await export(store, Terminal(), format="parquet")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
async def test_a_file_appears_whole(store, tmp_path, kind):
    await store.save(FULL)
    out = tmp_path / "out"
    out.mkdir()
    assert await export(store, out / "results", format=kind) == 1
    assert (out / "results").read_bytes() == (await exported(store, kind))[1]
    assert [each.name for each in out.iterdir()] == ["results"]


class Failing:
    """A store whose disk fails after some rows."""

    def __init__(self, rows):
        self.rows = rows

    async def results(self, *, statuses):
        for number in range(self.rows):
            yield done(f"id-{number}", data={"text": "x" * 1000})
        raise Unavailable("the disk is gone")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
async def test_a_file_that_could_not_be_finished_leaves_the_old_one(tmp_path, kind):
    out = tmp_path / "results"
    out.write_text("old")
    with pytest.raises(Unavailable, match="the disk is gone"):
        await export(Failing(200), out, format=kind)
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


async def test_a_replaced_file_keeps_its_permissions_and_a_link_its_target(store, tmp_path):
    await store.save(FULL)
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    await export(store, link, format="jsonl")
    assert link.is_symlink()
    assert target.read_text() == GOLDEN_DONE
    assert target.stat().st_mode & 0o777 == 0o600


async def test_what_lies_at_the_place_of_the_unfinished_file_is_not_written_through(store, tmp_path):
    """In a folder that others may write to, a link to a file of one's own; or what a killed process has left."""
    await store.save(FULL)
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    (tmp_path / f".results.{os.getpid()}.tmp").symlink_to(treasure)
    await export(store, tmp_path / "results", format="jsonl")
    assert treasure.read_text() == "mine"
    assert (tmp_path / "results").read_text() == GOLDEN_DONE
    assert not (tmp_path / "results").is_symlink()


async def test_a_device_is_written_to_and_not_replaced(store):
    await store.save(FULL)
    assert await export(store, Path(os.devnull), format="jsonl") == 1
    assert is_device(os.devnull)


def is_device(path):
    return Path(path).is_char_device()


async def test_a_place_that_cannot_be_written_is_named(store, tmp_path):
    with pytest.raises(Misconfigured, match=r"cannot be written \(File name too long\)"):
        await export(store, tmp_path / ("x" * 300), format="jsonl", statuses=("done",))
    with pytest.raises(Misconfigured, match=r"missing/out.jsonl: cannot be written \(No such file or directory\)"):
        await export(store, tmp_path / "missing" / "out.jsonl", format="jsonl")
    with pytest.raises(Misconfigured, match=r"cannot be written \(Is a directory\)"):
        await export(store, tmp_path, format="jsonl")


async def test_a_full_disk_is_unavailable(store):
    await store.save(FULL)
    with pytest.raises(Unavailable, match=r"/dev/full: cannot be written \(No space left on device\)"):
        await export(store, Path("/dev/full"), format="jsonl")


EXPORT_TO_STDOUT = """
import asyncio, sys
from scraper.export import export
from tests.test_export import Many
count = asyncio.run(export(Many(), sys.stdout.buffer, format=sys.argv[1]))
print(count, file=sys.stderr)
"""


class Many:
    """A store with more than a pipe holds."""

    async def results(self, *, statuses):
        for number in range(5_000):
            yield done(f"id-{number}", data={"text": "x" * 1000})


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_reader_that_stops_reading_ends_it_quietly(kind):
    command = [sys.executable, "-c", EXPORT_TO_STDOUT, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(100)
        process.stdout.close()
        said = process.stderr.read().decode()
    assert process.returncode == 0
    assert said.strip().isdigit()


def test_parquet_can_be_piped():
    command = [sys.executable, "-c", EXPORT_TO_STDOUT, "parquet"]
    ran = subprocess.run(command, capture_output=True, check=True)
    assert pq.read_table(io.BytesIO(ran.stdout)).num_rows == 5_000


async def test_progress_is_heard(store):
    heard = []
    await export(Many(), io.BytesIO(), format="jsonl", progress=heard.append)
    assert heard[:2] == [256, 512]
