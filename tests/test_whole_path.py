"""The service as its owner runs it: real commands and processes, a simulated site and model, both brokers."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import aio_pika
import pytest

from scraper.testing.site import Answer, SimulatedSite
from scraper.testing.site_pages import page as site_page
from scraper.testing.vllm import SimulatedVLLM
from scraper.testing.vllm_faults import parse_faults
from tests.service import Service

HANGS_SECONDS = 300  # far more than any of this takes on a slow machine


@pytest.fixture(params=["embedded", "rabbitmq"])
def broker_url(request):
    return None if request.param == "embedded" else request.getfixturevalue("rabbitmq_url")


@pytest.fixture
async def model():
    async with SimulatedVLLM(preset="rtx5090-8b", time_scale=40) as server:
        yield server


@pytest.fixture
async def site():
    async with SimulatedSite() as server:
        yield server


@pytest.fixture
def service(tmp_path, broker_url, model):
    return Service(
        tmp_path,
        broker_url=broker_url,
        QUEUE_NAMESPACE=f"whole-{os.getpid()}-{time.monotonic_ns()}",
        VLLM_BASE_URL=model.base_url,
        VLLM_REQUESTS_PER_MINUTE=1200,
        VLLM_MAX_CONCURRENT=2,
        ALLOW_PRIVATE_ADDRESSES="on",
        FETCH_DELAY=0,
    )


async def said(service, *arguments, code=0):
    """One command, run to its end beside the simulated servers of this loop."""
    ended = await asyncio.to_thread(service, *arguments, seconds=HANGS_SECONDS)
    assert code is None or ended.returncode == code, ended.stderr
    return ended


async def submit(service, *lines, code=0):
    file = Path(service.folder) / "tasks.jsonl"
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return await said(service, "submit", "--schema", "product", file, code=code)


async def results(service):
    return {row["task_id"]: row for row in await asyncio.to_thread(service.results)}


async def until(process, *events):
    """Read the log of `process` until each of `events` was seen as often as it is named."""
    wanted = Counter(events)
    while wanted.total():
        line = await asyncio.wait_for(asyncio.to_thread(process.stderr.readline), HANGS_SECONDS)
        assert line, f"the process ended before {dict(wanted)}"
        if line.startswith("{"):
            event = json.loads(line)
            if wanted[event["event"]]:
                wanted[event["event"]] -= 1
                yield event


async def ended(process):
    try:
        _, log = await asyncio.to_thread(process.communicate, timeout=HANGS_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        _, log = await asyncio.to_thread(process.communicate)
        pytest.fail(f"still running after {HANGS_SECONDS} s:\n{log}")
    return process.returncode, log


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def test_pages_become_the_data_that_stands_on_them(service, site):
    urls = [site.url(f"/product/{number}") for number in range(1, 13)]
    await submit(service, *urls)
    await said(service, "--until-empty")
    rows = await asyncio.to_thread(service.results)
    assert {row["status"] for row in rows} == {"done"}
    assert {row["url"]: row["data"]["sku"] for row in rows} == {
        url: site.truth(f"/product/{number}")["sku"] for number, url in enumerate(urls, start=1)
    }


async def test_results_wait_in_their_queue_as_well_where_the_owner_wants_them(service, site, broker_url):
    service.environment["RESULTS_QUEUE"] = "on"
    if broker_url is None:
        assert "RESULTS_QUEUE=on needs RabbitMQ" in (await submit(service, code=2)).stderr
        return
    await submit(service, site.url("/product/1"))
    await said(service, "--until-empty")
    [stored] = await asyncio.to_thread(service.results)
    async with await aio_pika.connect(broker_url) as connection, connection.channel() as channel:
        queue = await channel.get_queue(f"{service.environment['QUEUE_NAMESPACE']}.results")
        assert json.loads((await queue.get(no_ack=True)).body) == stored


TROUBLE = {
    "/status/404": "page_gone",
    "/status/410": "page_gone",
    "/type/pdf": "not_html",
    "/type/image": "not_html",
    "/redirect-loop": "redirects",
    "/redirect-endless/1": "redirects",
    "/private/1": "robots",
    "/huge?mb=8": "too_large",
    "/bomb/gzip?mb=50": "too_large",
}


async def test_every_kind_of_trouble_is_parked_with_its_reason_and_no_call(service, site, model):
    await submit(service, *[{"url": site.url(path), "task_id": path} for path in TROUBLE])
    await said(service, "--until-empty")
    rows = await results(service)
    assert {path: row["reason"] for path, row in rows.items()} == TROUBLE
    assert all(row["error"] for row in rows.values())
    assert model.stats.requests == 0


ODD = [
    "/broken",
    "/deep?tags=50000",
    "/null-bytes",
    "/no-content-type",
    "/charset/wrong-header",
    "/injection",
    "/redirect/3",
]


async def test_odd_pages_end_too(service, site):
    await submit(service, *[{"url": site.url(path), "task_id": path} for path in ODD])
    await said(service, "--until-empty")
    rows = await results(service)
    assert set(rows) == set(ODD)
    assert {row["status"] for row in rows.values()} == {"done"}


BLANK = {"/empty": "not_html", "/frameset": "not_html"}


async def test_pages_without_text_cost_no_call(service, site, model):
    await submit(service, *[{"url": site.url(path), "task_id": path} for path in BLANK])
    await said(service, "--until-empty")
    assert {path: row["reason"] for path, row in (await results(service)).items()} == BLANK
    assert model.stats.requests == 0


KETTLE = """<title>Nordlys kettle 2 l</title><h1>Nordlys kettle 2 l</h1><p>12,50 &euro;</p>
<script type="application/ld+json">{"@type": "Product", "name": "Nordlys kettle 2 l", "sku": "NK-2",
"offers": {"@type": "Offer", "price": "12.50", "availability": "https://schema.org/InStock"}}</script>"""


async def test_pages_that_answer_everything_themselves_cost_no_call(service, model):
    """Small ones, and those that are so large that they are cleaned in a process of their own."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "price": {"type": "number"}, "in_stock": {"type": "boolean"}},
        "required": ["name", "price"],
    }
    large = KETTLE + "<p>Boils water.</p>\n" * 20_000
    await submit(
        service, *({"html": html, "schema": schema, "task_id": html[:1] + str(len(html))} for html in (KETTLE, large))
    )
    await said(service, "--until-empty")
    for row in await asyncio.to_thread(service.results):
        assert row["data"] == {"name": "Nordlys kettle 2 l", "price": 12.5, "in_stock": True}
        assert (row["status"], row["model"], row["calls"]) == ("done", None, 0)
        assert row["fields"]["/price"]["source"] == "json_ld"
        assert row["fields"]["/price"]["evidence"] == "12,50 €"
    assert model.stats.requests == 0


async def test_a_worker_that_waits_for_its_broker_stops_when_asked(tmp_path):
    away = Service(tmp_path, broker_url="amqp://guest:guest@127.0.0.1:9/")
    with away.running() as process:
        async for event in until(process, "waiting_for"):
            assert event["what"] == "broker"
        process.send_signal(signal.SIGTERM)
        code, log = await ended(process)
    assert code == 0, log
    assert '"event": "worker_stopped"' in log


async def test_bad_lines_are_refused_with_their_numbers_and_the_others_go_on(service, site):
    lines = [site.url("/product/1"), '{"url": 7}', "not a url", '{"html": "<p>x"', {"text": "Kettle 3 EUR"}]
    refused = await submit(service, *lines, code=1)
    assert [line.split(":")[0].rsplit(" ", 2)[1:] for line in refused.stderr.splitlines()[:-1]] == [
        ["line", "2"],
        ["line", "3"],
        ["line", "4"],
    ]
    assert "2 queued" in refused.stderr
    await said(service, "--until-empty")
    assert len(await results(service)) == 2


async def test_what_is_done_or_waiting_is_skipped_unless_asked_for_again(service, site, model):
    service.environment["CACHE"] = "off"
    url = site.url("/product/1")
    assert "1 queued" in (await submit(service, url)).stderr
    assert "0 queued, 1 skipped" in (await submit(service, url)).stderr
    await said(service, "--until-empty")
    assert "0 queued, 1 skipped" in (await submit(service, url)).stderr
    asked = model.stats.requests
    again = await said(service, "submit", "--schema", "product", "--again", Path(service.folder) / "tasks.jsonl")
    assert "1 queued" in again.stderr
    await said(service, "--until-empty")
    assert model.stats.requests == asked + 1
    assert len(await results(service)) == 1


async def test_an_unchanged_page_costs_no_second_call_and_a_changed_one_does(service, site, model):
    service.environment["STRUCTURED_DATA"] = "off"
    tasks = [{"url": site.url(f"/product/{number}"), "task_id": f"{number}"} for number in (1, 2)]
    await submit(service, *tasks)
    await said(service, "--until-empty")
    first, asked = await results(service), model.stats.requests
    site.answers["/product/2"] = Answer(body=site_page("product", 3, base_url=site.url("")).body)
    await said(service, "submit", "--schema", "product", "--again", Path(service.folder) / "tasks.jsonl")
    await said(service, "--until-empty")
    second = await results(service)
    assert {name: (row["cached"], row["calls"]) for name, row in second.items()} == {"1": (True, 0), "2": (False, 1)}
    assert (second["1"]["data"], second["1"]["model"]) == (first["1"]["data"], first["1"]["model"])
    assert model.stats.requests == asked + 1


async def test_equal_tasks_at_the_same_moment_cost_one_call(service, site, model):
    service.environment["STRUCTURED_DATA"] = "off"
    await submit(service, *[{"url": site.url("/product/1"), "task_id": f"{number}"} for number in range(6)])
    await said(service, "--until-empty")
    rows = (await results(service)).values()
    assert sorted(row["calls"] for row in rows) == [0, 0, 0, 0, 0, 1]
    assert len({json.dumps(row["data"]) for row in rows}) == 1
    assert model.stats.requests == 1


async def test_a_model_server_that_fails_for_a_while_costs_no_task_an_attempt(service, site, model):
    service.environment |= {"VLLM_CIRCUIT_BREAKER_TIMEOUT": "0.3", "VLLM_BASE_BACKOFF": "0.05"}
    model.faults.add(parse_faults("500=7x")[0])
    await submit(service, *[site.url(f"/product/{number}") for number in range(1, 7)])
    await said(service, "--until-empty")
    rows = await asyncio.to_thread(service.results)
    assert [(row["status"], row["attempts"]) for row in rows] == [("done", 1)] * 6


async def test_a_wrong_key_parks_nothing_and_names_the_setting(service, site, model):
    model.api_key = "right"
    service.environment["VLLM_API_KEY"] = "wrong-secret"
    await submit(service, site.url("/product/1"))
    with service.running() as process:
        async for event in until(process, "endpoint_misconfigured"):
            assert event["setting"] == "VLLM_API_KEY"
            assert "wrong-secret" not in json.dumps(event)
        async with asyncio.timeout(HANGS_SECONDS):
            while not (running := (await asyncio.to_thread(service.status))["running"]) or "key" not in (
                limited_by := running["limited_by"] or ""
            ):
                pass
        assert limited_by.startswith("VLLM_API_KEY: ")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        code, log = await ended(process)
    assert code == 0
    assert "wrong-secret" not in log
    assert await results(service) == {}
    assert (await asyncio.to_thread(service.status))["tasks"] == 1


async def test_a_killed_worker_loses_nothing(service, site, model):
    model.freeze()  # no answer comes: the worker is killed while it waits for one
    await submit(service, *[site.url(f"/product/{number}") for number in range(1, 7)])
    with service.running("--until-empty") as process:
        async with asyncio.timeout(HANGS_SECONDS):
            while not model.stats.in_flight:  # noqa: ASYNC110 the referee has no event for it
                await asyncio.sleep(0.01)
        [worker] = children_of(process.pid)
        os.kill(worker, signal.SIGKILL)
        model.thaw()
        async for event in until(process, "worker_restarted"):
            assert event["exit_code"] == -signal.SIGKILL
        code, log = await ended(process)
    assert code == 0, log
    assert [row["status"] for row in await asyncio.to_thread(service.results)] == ["done"] * 6


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_finishes_what_the_model_works_on(service, site, model, how):
    model.freeze()
    await submit(service, *[site.url(f"/product/{number}") for number in range(1, 40)])
    with service.running() as process:
        async with asyncio.timeout(HANGS_SECONDS):
            while not model.stats.in_flight:  # noqa: ASYNC110 the referee has no event for it
                await asyncio.sleep(0.01)
        process.send_signal(how)
        async for _ in until(process, "run_interrupted"):
            pass
        model.thaw()
        code, log = await ended(process)
    assert code == 0, log
    done = await asyncio.to_thread(service.results)
    left = await asyncio.to_thread(service.status)
    assert done
    assert len(done) + left["tasks"] + left["waiting"] == 39
    assert '"outcome": "lost"' not in log


async def test_an_interrupted_run_until_empty_says_what_is_in_hand_and_what_is_left(service, site, model):
    model.freeze()
    await submit(service, *[site.url(f"/product/{number}") for number in range(1, 40)])
    with service.running("--until-empty") as process:
        async for _ in until(process, "llm_request"):
            pass
        process.send_signal(signal.SIGINT)
        async for event in until(process, "run_interrupted"):
            assert event["drain_s"] == float(service.environment.get("DRAIN_SECONDS", 30))
        process.send_signal(signal.SIGINT)
        code, log = await ended(process)
    assert code == 130, log
    assert log.splitlines()[-1] == "0 tasks: 0 done, 0 parked; interrupted, 39 left in the queue"


async def test_workers_of_a_killed_supervisor_finish_and_go(service, site, model):
    await submit(service, *[site.url(f"/product/{number}") for number in range(1, 40)])
    with service.running() as process:
        async for _ in until(process, "llm_request"):
            pass
        async with asyncio.timeout(HANGS_SECONDS):
            while not model.stats.requests:  # noqa: ASYNC110 one that is late is told and not sent
                await asyncio.sleep(0.01)
        [worker] = children_of(process.pid)
        process.kill()
        async with asyncio.timeout(HANGS_SECONDS):
            while alive(worker):  # noqa: ASYNC110 another process cannot set an event here
                await asyncio.sleep(0.05)
        await ended(process)
    done = await asyncio.to_thread(service.results)
    left = await asyncio.to_thread(service.status)
    assert len(done) + left["tasks"] + left["waiting"] == 39
    assert {row["attempts"] for row in done} == {1}


async def test_check_says_what_is_well_and_what_is_not(service, model):
    assert "ok      VLLM_BASE_URL: simulated-vllm/rtx5090-8b" in (await said(service, "check")).stdout
    model.stop_listening()
    findings = json.loads((await said(service, "check", "--json", code=1)).stdout)
    assert {finding["what"]: finding["verdict"] for finding in findings} == {
        ".env": "ok",
        "BROKER_URL": "ok",
        "RESULTS_URL": "ok",
        "VLLM_BASE_URL": "failed",
        "RUN_DIR": "ok",
    }


async def checked_until(service, text):
    """What `check` says as soon as it says this: a worker that has started may still be on its way to it."""
    async with asyncio.timeout(HANGS_SECONDS):
        while text not in (checked := (await said(service, "check")).stdout):
            pass
    return checked


async def test_check_says_who_hosts_the_throttle_and_which_consumers_it_does_not_know(service, tmp_path):
    with service.running() as process:
        async for _ in until(process, "worker_started"):
            pass
        checked = await checked_until(service, f"process {process.pid} hosts the throttle of 1 process")
        assert "throttle scope" not in checked
        service.environment["RUN_DIR"] = str(tmp_path / "elsewhere")
        elsewhere = await checked_until(service, "warning throttle scope: 3 of 3 consumers of whole-")
        assert "no process throttles the model server at present" in elsewhere
        process.send_signal(signal.SIGTERM)
        assert (await ended(process))[0] == 0


@pytest.mark.parametrize("name", ["VLLM_MAX_CONCURRENT", "BROKER_URL"])
async def test_a_wrong_setting_is_wrong_usage_and_names_itself(service, name):
    service.environment[name] = "-1"
    for command in ("run", "status", "export", "check"):
        refused = await said(service, command, code=2)
        assert f"{name}=-1" in refused.stderr
        assert "Traceback" not in refused.stderr


async def test_commands_that_read_say_so_where_there_is_nothing_to_read(tmp_path):
    nothing = Service(tmp_path)
    for command in ("export", "status"):
        refused = await said(nothing, command, code=1)
        assert "there is no database" in refused.stderr
        assert "Traceback" not in refused.stderr


async def test_where_a_tasks_time_went_adds_up_to_its_total(service, site, model):
    """Pages that take every way: good, flaky, parked, retried; at a pace and with slots that make them wait."""
    service.environment |= {
        "VLLM_REQUESTS_PER_MINUTE": "900",
        "VLLM_BASE_BACKOFF": "0.05",
        "FETCH_DELAY": "0.02",
        "WORKERS": "2",
    }
    model.faults.add(parse_faults("500=3x")[0])
    pages = [f"/product/{number}" for number in range(1, 31)]
    await submit(service, *map(site.url, [*pages, *TROUBLE, "/slow?seconds=0.5"]))
    with service.running("--until-empty") as process:
        code, log = await ended(process)
    assert code == 0, log
    stories = [
        event
        for event in map(json.loads, filter(lambda line: line.startswith("{"), log.splitlines()))
        if event["event"] == "task_settled"
    ]
    assert len({story["task_id"] for story in stories}) == len(pages) + len(TROUBLE) + 1
    for story in stories:
        assert sum(story["timings"].values()) == pytest.approx(story["total_s"], rel=0.02, abs=0.002), story
        assert min(story["timings"].values()) >= 0, story
    phases = {phase for story in stories for phase in story["timings"]}
    assert {"fetch", "clean", "wait_rate", "backoff", "first_token", "generate", "validate", "store"} <= phases
    rows = await asyncio.to_thread(service.results)
    status = (await said(service, "status")).stdout
    assert "wait_rate" in status
    assert "none is running here" in status
    kept = {row["task_id"]: row["timings"] for row in rows if row["status"] == "done"}
    logged = {story["task_id"]: story["timings"] for story in stories if story["outcome"] == "done"}
    assert {
        name: {phase: spent for phase, spent in phases.items() if phase != "store"} for name, phases in kept.items()
    } == {
        name: {phase: spent for phase, spent in phases.items() if phase != "store"} for name, phases in logged.items()
    }


async def test_status_shows_what_limits_the_workers_that_run_now(service, site, model):
    model.freeze()
    await submit(service, *[site.url(f"/product/{number}") for number in range(1, 7)])
    with service.running() as process:
        async for _ in until(process, "llm_request"):
            pass
        running = None
        async with asyncio.timeout(HANGS_SECONDS):
            while not running or not running["throttle"]["in_flight"] or not running["counts"].get("attempts"):
                running = (await asyncio.to_thread(service.status))["running"]
        assert running["workers"] == 1
        assert running["throttle"]["limit"] == 2
        assert running["in_hand"] >= 1
        assert "limited by" in (await said(service, "status")).stdout
        model.thaw()
        process.send_signal(signal.SIGTERM)
        code, log = await ended(process)
    assert code == 0, log


async def test_two_copies_started_apart_share_one_throttle(tmp_path, model):
    """Each with its own queue and results, and nothing in common but the model server and RUN_DIR."""
    tasks, interval = 25, 0.1
    copies = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        settings = {"VLLM_BASE_URL": model.base_url, "RUN_DIR": tmp_path / "run", "VLLM_MAX_CONCURRENT": 2}
        copies.append(Service(tmp_path / name, VLLM_REQUESTS_PER_MINUTE=60 / interval, **settings))
        await submit(copies[-1], *({"text": f"Kettle {number} of {name}, 12.99 €"} for number in range(tasks)))
    with copies[0].running("--until-empty") as first, copies[1].running("--until-empty") as second:
        ends = await asyncio.gather(ended(first), ended(second))
    assert [code for code, _ in ends] == [0, 0]
    for copy in copies:
        assert Counter(row["status"] for row in (await results(copy)).values()) == {"done": tasks}
    starts = model.stats.starts
    assert len(starts) == 2 * tasks
    assert model.stats.max_in_flight <= 2
    assert max(starts) - min(starts) >= 0.85 * (2 * tasks - 1) * interval  # apart, they would take half of it
