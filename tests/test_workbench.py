"""Parked tasks and the service that parked them, on both brokers: a page is fetched once, whatever is asked about it."""

import asyncio
import json

import pytest

from scraper.testing.vllm_faults import parse_faults
from tests.test_whole_path import (  # noqa: F401 fixtures are asked for by name
    broker_url,
    model,
    results,
    said,
    service,
    site,
    submit,
)


@pytest.fixture
async def parked_pages(service, site, model):  # noqa: F811
    """Four pages that the model could not read."""
    service.environment |= {"STRUCTURED_DATA": "off", "REPAIR_ROUNDS": "0"}
    model.faults.add(parse_faults("wrong_schema=on")[0])
    paths = [f"/product/{number}" for number in range(1, 5)]
    await submit(service, *[{"url": site.url(path), "task_id": path} for path in paths])
    await said(service, "--until-empty")
    assert {row["reason"] for row in (await results(service)).values()} == {"schema_invalid"}
    model.faults.clear()
    return paths


async def test_a_new_prompt_reads_the_stored_pages(service, site, model, parked_pages, tmp_path):  # noqa: F811
    schema = tmp_path / "just-the-name.json"
    schema.write_text(json.dumps({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}))
    asked = model.stats.requests
    replayed = await said(service, "dead", "replay", "--reason", "schema_invalid", "--set", f"schema={schema}")
    assert "4 in the queue again" in replayed.stderr
    await said(service, "--until-empty")
    rows = await results(service)
    assert {path: (row["status"], row["attempts"], list(row["data"])) for path, row in rows.items()} == {
        path: ("done", 1, ["name"]) for path in parked_pages
    }
    assert {row["url"] for row in rows.values()} == {site.url(path) for path in parked_pages}
    assert {site.hits[path] for path in parked_pages} == {1}
    assert model.stats.requests == asked + 4
    assert json.loads((await said(service, "dead", "list", "--json")).stdout)["counts"] == {}


async def test_replays_and_drops_go_on_while_workers_run(service, site, model, parked_pages):  # noqa: F811
    with service.running() as process:
        await said(service, "dead", "replay", *parked_pages[:3])
        await said(service, "dead", "drop", parked_pages[3], "--yes")
        async with asyncio.timeout(300):
            while (await asyncio.to_thread(service.status))["done"] < 3:  # noqa: ASYNC110 another process
                await asyncio.sleep(0.05)
        process.terminate()
        await asyncio.to_thread(process.communicate)
    assert {path: row["status"] for path, row in (await results(service)).items()} == dict.fromkeys(
        parked_pages[:3], "done"
    )


async def test_a_replay_that_fails_again_is_parked_again_with_both_stories(service, site, model, parked_pages):  # noqa: F811
    model.faults.add(parse_faults("bad_json=on")[0])
    await said(service, "dead", "replay", parked_pages[0])
    await said(service, "--until-empty")
    story = json.loads((await said(service, "dead", "show", parked_pages[0], "--json", "--input")).stdout)
    assert story["reason"] == "bad_answer"
    assert ["schema" in error["error"] for error in story["errors"]] == [True, False]
    assert story["page_chars"] > 0
    assert story["input"]
    assert site.hits[parked_pages[0]] == 1
