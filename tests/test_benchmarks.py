"""The benchmark measures what it says: its sides do the whole work, its stub and its pages are what they claim."""

import asyncio
import gzip
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path
from statistics import median

import httpx
import jsonschema_rs
import pytest

from benchmarks import extraction_grounding, grants, peers
from benchmarks.compare import Plan, Sample, compare, profile_once
from benchmarks.duties import OTHERWISE, duty_of, own_duty
from benchmarks.extraction_input import pages
from benchmarks.measure import used
from benchmarks.pages import LARGEST, PRODUCT, SCHEMA, SMALLEST, product_page, task_bodies
from benchmarks.report import profile_tables, summary, table
from benchmarks.sides import BenchmarkFailedError, Floor, Ours, stub_model
from scraper.pipeline.clean import clean

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def stub():
    with stub_model(chunks=5, pace_ms=0) as running:
        yield running


def sides(model_url, rabbitmq_url):
    floors = [Floor(rabbitmq_url, model_url, bare=True), Floor(rabbitmq_url, model_url)]
    return [*floors, Ours(model_url, rabbitmq_url=rabbitmq_url), Ours(model_url)]


@pytest.fixture
def short_path():
    """A socket's path has at most 107 bytes, and pytest's own folders are named after their tests."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)


def test_every_side_does_every_task_with_a_model_call_each(stub, rabbitmq_url, short_path):
    plan = Plan(sides(f"{stub.url}/v1", rabbitmq_url), stub, short_path, tasks=6, repeat=1, warm_up=False)
    samples = list(compare(plan, tell=lambda _: None))
    assert [sample.side for sample in samples] == ["bare floor", "floor", "ours, RabbitMQ", "ours, embedded queue"]
    assert [sample.chats_per_task for sample in samples] == [1, 1, 1, 1]
    assert all(sample.cpu_ms_per_task > 0 and sample.peak_mb > 10 for sample in samples)


def test_a_profile_of_a_side_shows_its_functions(stub, rabbitmq_url, tmp_path):
    out = tmp_path / "profile.json"
    tasks = 400  # a sample every few milliseconds of CPU: of 60 tasks there may be none in the right place
    profile_once(Floor(rabbitmq_url, f"{stub.url}/v1"), tasks, folder=tmp_path, out=out)
    functions = {function for each in json.loads(out.read_text()) for function in each["stack"]}
    assert "benchmarks/floor_worker.py:Asking.handle" in functions


def test_the_sampler_tells_starting_from_working_and_threads_from_each_other(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, os, signal\n"
        "def first(): sum(range(2 * 10**6))\n"
        "def second(): [str(each) for each in range(2 * 10**6)]\n"
        "async def main():\n"
        "    work = asyncio.create_task(asyncio.to_thread(second))\n"
        "    while not work.done():\n"
        "        await asyncio.sleep(0.001)\n"  # a loop that sleeps all the time looks at no signal
        "first()\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "asyncio.run(main())\n"
    )
    out = tmp_path / "profile.json"
    subprocess.run([sys.executable, ROOT / "benchmarks" / "sampler.py", out, program], check=True)
    profile = json.loads(out.read_text())
    seen = {(each["phase"], function.rpartition(":")[2]) for each in profile for function in each["stack"]}
    assert {("start", "first"), ("work", "second")} <= seen
    assert ("work", "first") not in seen
    tables = list(profile_tables(profile, name="it", tasks=1))
    assert str(tables[0].title).startswith("it: starting")
    assert any("second" in cell for cell in tables[-2].columns[0].cells)


def test_time_is_booked_to_whoever_asked_for_it():
    loop = ["asyncio/runners.py:Runner.run", "scraper/event_loop.py:run", "scraper/main.py:<module>", "thread: Main"]
    asked = own_duty("scraper/pipeline/task.py:decode")
    assert asked not in {None, OTHERWISE}
    decoding = ["json/decoder.py:raw_decode", "scraper/json_text.py:read_strict", "scraper/pipeline/task.py:decode"]
    assert duty_of([*decoding, "scraper/worker.py:Worker._read", *loop]) == asked
    assert duty_of(["scraper/worker.py:Worker._read", *loop]) == own_duty("scraper/worker.py:f")
    assert duty_of(["aiormq/connection.py:Connection.reader", *loop]) == own_duty("scraper/broker/rabbitmq.py:f")
    assert duty_of(["queue.py:SimpleQueue.get", "thread: sqlite scraper.db"]) == own_duty("scraper/store/sqlite.py:f")
    assert duty_of(["futures/thread.py:_worker", "thread: asyncio_0"]) == duty_of(loop) == OTHERWISE


def inner_seconds(program, text):
    """Of the functions of a program, by name, under the sampler."""
    program.write_text(text)
    out = program.with_suffix(".json")
    subprocess.run([sys.executable, ROOT / "benchmarks" / "sampler.py", out, program], check=True)
    seconds = Counter()
    for each in json.loads(out.read_text()):
        seconds[each["stack"][0].rpartition(":")[2]] += each["seconds"]
    return seconds


def test_what_c_does_before_it_calls_python_is_its_callers(tmp_path):
    seconds = inner_seconds(
        tmp_path / "program.py",
        "from itertools import islice\n"
        "def called(number): return True\n"
        "def skipping(): return next(filter(called, islice(range(10**7), 3 * 10**6, None)))\n"
        "for _ in range(10): skipping()\n",
    )
    assert seconds["skipping"] > seconds["called"]


def test_what_was_done_before_a_wait_is_not_booked_to_waiting(tmp_path):
    seconds = inner_seconds(
        tmp_path / "program.py",
        "import asyncio\n"
        "def working(): sum(range(2 * 10**5))\n"
        "def beside_it(): sum(range(10**6))\n"
        "async def main():\n"
        "    for _ in range(60):\n"
        "        working()\n"
        "        await asyncio.to_thread(beside_it)\n"
        "asyncio.run(main())\n",
    )
    waiting = sum(each for name, each in seconds.items() if name.startswith(("Selector", "EpollSelector")))
    assert seconds["working"] > waiting


def test_a_side_whose_tasks_do_not_get_done_has_no_figures(tmp_path):
    side = Ours("http://127.0.0.1:9/v1")
    tasks = tmp_path / "late.jsonl"
    tasks.write_text('{"html": "<p>x</p>", "schema": {"type": "object"}, "expires_at": "2001-01-01T00:00:00Z"}\n')
    side.fill(tasks, folder=tmp_path)
    with side.start(folder=tmp_path, profile=None) as running:
        running.wait_for(1, look_every_seconds=0.02)
    with pytest.raises(BenchmarkFailedError, match="expired"):
        side.check(running, 1)


def test_a_side_that_ends_early_shows_its_last_words(tmp_path):
    with (
        Floor("amqp://127.0.0.1:9/", "http://127.0.0.1:9/v1").start(folder=tmp_path, profile=None) as running,
        pytest.raises(BenchmarkFailedError, match=r"(?s)exit code 1.*Connect"),
    ):
        running.wait_for(1, look_every_seconds=0.02)


async def test_the_stub_answers_whole_and_streamed_with_the_same_right_json(stub):
    async with httpx.AsyncClient(base_url=stub.url) as client:
        whole = await client.post("/v1/chat/completions", json={"messages": []})
        streamed = await client.post("/v1/chat/completions", json={"messages": [], "stream": True})
        models = await client.get("/v1/models")
        tokens = await client.post("/v1/tokenize", json={"prompt": "x" * 400})
        stats = await client.get("/stats")
    lines = [line.removeprefix("data: ") for line in streamed.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    events = [json.loads(line) for line in lines[:-1]]
    words = [event["choices"][0]["delta"].get("content", "") for event in events if event["choices"]]
    assert len([word for word in words if word]) == 5
    assert json.loads("".join(words)) == json.loads(whole.json()["choices"][0]["message"]["content"]) == PRODUCT
    assert events[-1]["usage"] == whole.json()["usage"]
    assert models.json()["data"][0]["max_model_len"] == tokens.json()["max_model_len"] > 20_000
    assert tokens.json()["count"] > 100
    assert {key: stats.json()[key] for key in ("whole", "streamed", "other")} == {"whole": 1, "streamed": 1, "other": 2}


async def test_the_stub_reads_requests_however_they_are_cut(stub):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(stub.url.rpartition(":")[2]))
    body = b'{"stream": false, "messages": ["' + '«\\"stream\\":true»'.encode() + b'"]}'
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    for byte in request:
        writer.write(bytes([byte]))
        await writer.drain()
    writer.write(request + request)  # two more at once
    head = b"content-type: application/json"
    received = b""
    while received.count(b'"finish_reason":"stop"') < 3:
        received += await reader.read(1 << 16)
    assert received.count(head) == 3
    writer.close()
    await writer.wait_closed()


def test_pages_are_like_real_ones_in_what_costs():
    pages = [product_page(number) for number in range(60)]
    sizes = [len(page.encode()) for page in pages]
    assert min(sizes) >= SMALLEST
    assert max(sizes) <= LARGEST * 1.01
    assert 12 < median(page.count("<") / len(page) * 1000 for page in pages) < 24
    assert 1 < median(page.count("<a ") / len(page) * 1000 for page in pages) < 2.5
    scripts = [sum(map(len, re.findall(r"(?s)<script.*?</script>", page))) / len(page) for page in pages]
    assert 0.18 < median(scripts) < 0.3
    assert 0.07 < median(len(clean(page).text) / len(page) for page in pages) < 0.15


def test_the_same_seed_gives_the_same_tasks_all_different_and_each_with_the_answer_in_it():
    bodies = list(task_bodies(20, seed=7))
    assert bodies == list(task_bodies(20, seed=7))
    assert len({json.loads(body)["html"] for body in bodies}) == 20
    assert list(islice(task_bodies(20, seed=8), 1)) != bodies[:1]
    text = clean(json.loads(bodies[3])["html"]).text
    assert all(str(value) in text for value in (PRODUCT["name"], PRODUCT["price"], PRODUCT["sku"], PRODUCT["summary"]))
    assert jsonschema_rs.is_valid(SCHEMA, PRODUCT)


def test_cpu_time_and_memory_of_another_process_are_read_while_it_lives():
    program = "import sys; sum(range(10**6)); block = b'x' * 50_000_000; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        seen = used(process.pid)
        process.communicate()
    assert seen.cpu_seconds > 0.005
    assert 50 < seen.peak_megabytes < 100
    with pytest.raises(ProcessLookupError, match=str(process.pid)):
        used(process.pid)


def test_the_table_puts_ours_beside_its_floor_and_the_aims():
    samples = [sample("floor", 2.0), sample("ours, RabbitMQ", 1.5), sample("floor", 3.0), sample("ours, RabbitMQ", 3.0)]
    found = summary(samples)
    assert found["ours, RabbitMQ"]["cpu_of_floor"] == pytest.approx(0.875)  # of 0.75 and 1.0, each in its repetition
    assert found["floor"]["cpu_ms_per_task"] == pytest.approx(2.5)
    shown = table(samples)
    aims = list(shown.columns[-1].cells)
    assert aims[0] == "≤ 0.8 × floor: missed"
    assert "≤ 75: met" in aims


def test_a_bare_floor_beside_it_has_a_line_of_its_own():
    samples = [sample("bare floor", 1.0), sample("floor", 2.0), sample("ours, RabbitMQ", 1.5)]
    shown = table(samples)
    assert list(shown.columns[-2].cells)[:2] == ["0.75", "1.50"]


def test_help_shows_examples():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "tasks.py", "--help"], capture_output=True, text=True, check=True
    )
    assert "benchmarks/tasks.py --tasks 300 --json bench.json" in done.stdout


def sample(side, cpu_ms):
    return Sample(
        side=side,
        tasks=10,
        cpu_ms_per_task=cpu_ms,
        kernel_ms_per_task=0.1,
        supervisor_ms_per_task=0.0,
        model_ms_per_task=0.1,
        tasks_per_second=300,
        peak_mb=60,
        supervisor_peak_mb=0,
        first_task_cpu_s=0.5,
        first_task_supervisor_cpu_s=0.1,
        first_task_wall_s=1,
        chats_per_task=1,
        streamed=False,
    )


def saved(folder, page_set, truths, html):
    """A set of pages as the benchmarks of real pages read it."""
    (folder / page_set / "html").mkdir(parents=True)
    names = [f"{number:08x}" for number in range(len(truths))]
    (folder / page_set / "truth.json").write_text(json.dumps(dict(zip(names, truths, strict=True))))
    for name, truth in zip(names, truths, strict=True):
        (folder / page_set / "html" / f"{name}.html.gz").write_bytes(gzip.compress(html(truth).encode()))


def test_grounding_is_measured_by_a_pages_own_values_and_those_of_others(tmp_path):
    products = [
        {"price": [f"{number}99.50"], "brand": [f"Maker{number}x"], "url": f"https://e.example/{number}"}
        for number in range(4)
    ]
    saved(tmp_path, "products", products, lambda truth: f"<p>{truth['brand'][0]}<p>{truth['price'][0]} EUR<p>199,50 €")
    stories = [{"articleBody": f"Story {number}. " * 40, "url": "https://e.example/"} for number in range(2)]
    saved(tmp_path, "articles", stories, lambda truth: f"<p>{truth['articleBody']}")
    result = extraction_grounding.measured("products", list(pages(tmp_path / "products")))
    assert result.by_field["price"].found == [True] * 4
    assert result.by_field["price"].accepted.count(True) == 3  # the one price that stands on every page
    assert not any(result.by_field["brand"].accepted)
    assert [table.row_count for table in extraction_grounding.tables(tmp_path)] == [7, 2]


async def test_the_peers_benchmark_measures_at_the_server_what_all_processes_do_together():
    in_flight, starts, used_share = await peers.measure("scraper", seconds=4)
    assert in_flight <= peers.IN_FLIGHT
    assert 2 * peers.PROCESSES <= starts <= peers.STARTS
    assert 0 < used_share <= 1.1  # four seconds hold few starts, and the first may have been seen late


def test_the_grants_benchmark_counts_grants_and_cpu_of_both_sides():
    sides = grants.cases(60_000)
    for case in ("bare loop, no throttle", "1 × 1,000 waiters"):
        cost = grants.measure(sides[case], seconds=0.5)
        assert cost.rate > 0
        assert cost.first > 0
        assert cost.others > 0
