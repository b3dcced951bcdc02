"""Results to store, and ways to look at a store's file from outside."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime

from scraper.models import ParkReason, Result, Usage

MOMENT = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)


def done(task_id="one", **fields):
    fields = {"content_sha256": "c" * 64, "submission": 0, "finished_at": MOMENT, "data": {"name": "A"}} | fields
    return Result(task_id=task_id, status="done", **fields)


def parked(task_id="one", reason=ParkReason.PAGE_GONE, **fields):
    fields = {"content_sha256": "c" * 64, "submission": 0, "finished_at": MOMENT, "error": "404"} | fields
    return Result(task_id=task_id, status="parked", reason=reason, **fields)


FULL = Result(
    task_id="the-task",
    status="done",
    content_sha256="ab" * 32,
    submission=1_777_000_000_000_000_000,
    finished_at=MOMENT,
    url="https://shop.example:8443/p/1?x=ü",
    data={"name": "Grüße 😀", "price": 12.5, "tags": ["a", "b"], "none": None, "big": 2**80, "nul": "a\0b"},
    model="m",
    usage=Usage(3000, 200, 1000),
    calls=2,
    attempts=3,
    fields={"name": {"source": "json-ld", "grounded": True}},
    unsupported=("price",),
    cut={"characters": 10},
    cached=True,
    timings={"fetch": 0.25, "generate": 1.5},
    metadata=[1, {"a": "b"}],
)


async def rows_of(store, **options):
    return [result async for result in store.results(**options)]


def query(path, sql, *parameters):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql, parameters).fetchall()
