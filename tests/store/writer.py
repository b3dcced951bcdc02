"""A process that saves results until it is killed, and says of each that it is saved: python writer.py PATH NAME COUNT."""

import asyncio
import os
import sys

from scraper.models import Page, Remains
from scraper.store.sqlite import SqliteStore
from tests.store.results import done, parked


async def main(path, name, count):
    async with SqliteStore(path, busy_seconds=30) as store:

        async def save(number):
            task_id = f"{name}-{number}"
            await store.submitted([task_id])
            if number % 2:
                await store.save(done(task_id, data={"text": "x" * 3000}))
            else:
                await store.save(parked(task_id), Remains(os.urandom(6000), page=Page(None, "<p>" * 100)))
            os.write(1, f"{task_id}\n".encode())

        for first in range(0, count, 3):
            await asyncio.gather(*(save(number) for number in range(first, min(first + 3, count))))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
