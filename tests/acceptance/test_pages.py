"""Real pages of real shops and papers, through both brokers, with two worker processes and a simulated model.

    make test-pages PAGES_DIR=folder

The folder holds `products/html/*.html.gz` and `articles/html/*.html.gz`, as in the public extraction benchmarks.
"""

import asyncio
import gzip
import os
import threading
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scraper.testing.vllm import SimulatedVLLM
from tests.service import Service

PAGES = Path(os.environ.get("PAGES_DIR", "no PAGES_DIR"))
LIMITS = {"VLLM_MAX_CONCURRENT": 2, "VLLM_REQUESTS_PER_MINUTE": 1200}
FAIR_REASONS = {"answer_too_long", "schema_invalid", "bad_answer"}
"""A simulated reader may fail to find a required value; everything else about these pages is fine."""


@pytest.fixture(scope="module")
def site():
    """Every page at /SET/NAME.html, byte for byte, without a charset in the header."""
    assert PAGES.is_dir(), f"PAGES_DIR={PAGES}: no such folder"

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self):
            page_set, _, name = self.path.strip("/").partition("/")
            file = PAGES / page_set / "html" / f"{name}.gz"
            found = file.is_file()
            body = gzip.decompress(file.read_bytes()) if found else b"not here"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=partial(server.serve_forever, 0.05))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def urls(site, page_set):
    return [
        f"{site}/{page_set}/{file.name.removesuffix('.gz')}"
        for file in sorted((PAGES / page_set / "html").glob("*.gz"))
    ]


@pytest.fixture(params=["embedded", "rabbitmq"])
def broker_url(request):
    return None if request.param == "embedded" else request.getfixturevalue("rabbitmq_url")


async def test_every_page_ends_as_one_result_or_parked_with_its_reason(tmp_path, site, broker_url):
    async with SimulatedVLLM(preset="rtx5090-8b", time_scale=50) as model:
        service = Service(
            tmp_path,
            broker_url=broker_url,
            VLLM_BASE_URL=model.base_url,
            ALLOW_PRIVATE_ADDRESSES="on",
            FETCH_DELAY=0,
            WORKERS=2,
            **LIMITS,
        )
        wanted = []
        for page_set, schema in (("products", "product"), ("articles", "article")):
            file = tmp_path / f"{page_set}.txt"
            file.write_text("\n".join(urls(site, page_set)))
            wanted += urls(site, page_set)
            submitted = await asyncio.to_thread(service, "submit", "--schema", schema, file)
            assert submitted.returncode == 0, submitted.stderr
        ran = await asyncio.to_thread(service, "--until-empty")
        assert ran.returncode == 0, ran.stderr
        stats = model.stats

    rows = service.results()
    assert Counter(row["url"] for row in rows) == Counter(wanted)
    reasons = Counter(row["reason"] for row in rows if row["status"] == "parked")
    print(
        f"\n{ran.stderr.splitlines()[-1]}\nin flight at most {stats.max_in_flight}, smallest gap {stats.smallest_gap}"
    )
    assert set(reasons) <= FAIR_REASONS, reasons
    assert stats.max_in_flight <= LIMITS["VLLM_MAX_CONCURRENT"]
    assert stats.most_starts_in(60) <= LIMITS["VLLM_REQUESTS_PER_MINUTE"] + 1
    assert all(row["data"] for row in rows if row["status"] == "done")
    left = service.status()
    assert (left["tasks"], left["waiting"]) == (0, 0)
    assert left["done"] + left["parked"] == len(wanted)
