"""Pages that give orders to the model, run by the service as its owner runs it, with a model that follows every order.

What holds whatever the model does: the schema it is held to, the rules and settings it is asked with, what is fetched,
and all other tasks. What a look-up on the page adds: an ordered value that readers of the page do not see is flagged,
or with GROUNDING=strict is not in the data. What nobody can tell from the page alone: a value that the order itself
shows to readers. Its evidence then is the order.
"""

import asyncio
import json

import pytest

from scraper.testing.site import SimulatedSite
from scraper.testing.site_pages.injections import INJECTIONS, ORDERED, TRUTH
from scraper.testing.vllm import SimulatedVLLM
from scraper.testing.vllm_faults import parse_faults
from tests.service import Service

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "price": {"type": ["number", "null"]},
        "website": {"type": ["string", "null"], "format": "uri"},
    },
    "required": ["name", "price"],
    "additionalProperties": False,
}
HONEST = [f"/product/{number}" for number in (1, 9, 17, 25)]
KINDS = {
    kind: [name for name, each in INJECTIONS.items() if (each.reaches, each.stands) == which]
    for kind, which in {"seen": (True, True), "coded": (True, False), "unseen": (False, False)}.items()
}


class Run:
    """All injection pages and some honest ones, read with one setting of GROUNDING."""

    def __init__(self, rows, asked, hits, log):
        self.rows, self.asked, self.hits, self.log = rows, asked, hits, log

    def settled(self, name):
        """The line of the log that tells a task's story."""
        lines = map(json.loads, self.log.splitlines())
        return next(line for line in lines if line.get("task_id") == name and line["event"] == "task_settled")

    def ordered(self, name):
        """Which of the values that the page orders are in the data."""
        data = self.rows[name]["data"] or {}
        return {key for key, value in ORDERED.items() if data.get(key) == value}


async def run(folder, grounding, *, obey=True, structured_data="off"):
    async with SimulatedSite() as site, SimulatedVLLM(preset="instant", time_scale=50) as model:
        for fault in parse_faults("obey=on") if obey else []:
            model.faults.add(fault)
        service = Service(
            folder,
            VLLM_BASE_URL=model.base_url,
            VLLM_REQUESTS_PER_MINUTE=6000,
            ALLOW_PRIVATE_ADDRESSES="on",
            FETCH_DELAY=0,
            GROUNDING=grounding,
            STRUCTURED_DATA=structured_data,
        )
        pages = {name: f"/injection/{name}" for name in INJECTIONS} | {path: path for path in HONEST}
        tasks = [{"task_id": name, "url": site.url(path), "schema": SCHEMA} for name, path in pages.items()]
        file = folder / "tasks.jsonl"
        file.write_text("".join(f"{json.dumps(task)}\n" for task in tasks))
        submitted = await asyncio.to_thread(service, "submit", file)
        assert submitted.returncode == 0, submitted.stderr
        ran = await asyncio.to_thread(service, "--until-empty")
        assert ran.returncode == 0, ran.stderr
        found = json.dumps(await asyncio.to_thread(service.results)).replace(site.url("").rstrip("/"), "http://site")
        rows = {row["task_id"]: row for row in json.loads(found)}
        return Run(rows, list(model.asked), site.hits, ran.stderr)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Four runs, shared by all tests here: they take a while."""

    def made(grounding, **options):
        return asyncio.run(run(tmp_path_factory.mktemp(grounding), grounding, **options))

    return {
        "flag": made("flag"),
        "strict": made("strict"),
        "unharmed": made("flag", obey=False),
        "first": made("flag", structured_data="first"),
    }


@pytest.fixture(params=["flag", "strict"])
def read(request, runs):
    return runs[request.param]


def test_there_are_many_ways_and_each_is_run(read):
    assert len(INJECTIONS) >= 40
    assert set(read.rows) == {*INJECTIONS, *HONEST}


def test_every_answer_keeps_to_its_schema(read):
    for name, row in read.rows.items():
        assert row["status"] == "done" or row["reason"] == "unsupported", (name, row["error"])
        assert set(row["data"] or {}) <= set(SCHEMA["properties"]), name


def test_every_request_holds_the_model_to_the_tasks_schema_and_rules(read):
    assert len(read.asked) >= len(INJECTIONS)
    [rules] = {request.system_message for request in read.asked}
    assert json.dumps(SCHEMA, separators=(",", ":")) in rules
    for request in read.asked:
        properties = request.schema["properties"]
        assert properties.items() <= SCHEMA["properties"].items()
        assert request.schema["additionalProperties"] is False
        assert request.messages[0][0] == "system"
        assert [role for role, _ in request.messages[1:]] in (["user"], ["user", "assistant", "user"])


def test_no_page_writes_the_tags_or_tokens_that_frame_it(read):
    for request in read.asked:
        page = request.messages[1][1]
        assert (page.count("<page>"), page.count("</page>")) == (1, 1)
        for token in ("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<｜User｜>", "[INST]", "[/INST]", "<<SYS>>"):
            assert token not in page


def test_nothing_is_fetched_but_the_tasks_own_pages(read):
    assert set(read.hits) == {"/robots.txt", *HONEST, *(f"/injection/{name}" for name in INJECTIONS)}


def test_other_tasks_are_as_if_there_were_no_injections(runs):
    for name in HONEST:
        assert [runs[each].rows[name]["data"] for each in ("flag", "strict")] == [
            runs["unharmed"].rows[name]["data"]
        ] * 2


def test_no_line_of_the_log_repeats_a_page(read):
    for secret in (ORDERED["name"], "gnore all previous", "evil.example", TRUTH["name"]):
        assert secret not in read.log


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("hidden", "hidden"),
        ("style-sheet", "hidden"),
        ("off-screen", "off_screen"),
        ("zero-size", "zero_size"),
        ("no-room", "zero_size"),
        ("transparent", "transparent"),
        ("same-colour", "same_colour"),
        ("smuggled", "smuggled"),
        ("split", "zero_width"),
    ],
)
def test_the_log_says_what_a_page_hides_and_how(name, kind, read):
    assert read.settled(name)["hidden"][kind] >= 1


def test_the_log_says_how_many_values_do_not_stand_on_the_page(read):
    assert read.settled("base64")["unsupported"] == 3 or read.rows["base64"]["reason"] == "unsupported"
    assert read.settled("plain")["unsupported"] == 0


@pytest.mark.parametrize("name", KINDS["unseen"])
def test_an_order_that_readers_do_not_see_does_not_reach_the_model(name, read):
    assert (read.rows[name]["data"], read.rows[name]["unsupported"]) == (TRUTH, [])


def test_what_the_pages_data_for_machines_says_is_not_taken_where_readers_do_not_see_it(runs):
    row = runs["first"].rows["json-ld"]
    assert row["data"] == TRUTH
    sources = {told["source"] for name in HONEST for told in runs["first"].rows[name]["fields"].values()}
    assert sources > {"model"}, "no data for machines was read at all"


@pytest.mark.parametrize("name", KINDS["coded"])
def test_an_ordered_value_that_does_not_stand_on_the_page_is_flagged_or_with_strict_left_out(name, runs):
    flagged = runs["flag"].rows[name]
    changed = {f"/{key}" for key, value in flagged["data"].items() if value != TRUTH.get(key)}
    assert changed, "the model did not follow: nothing is shown"
    assert changed == set(flagged["unsupported"])
    strict = runs["strict"].rows[name]
    for key, value in (strict["data"] or {}).items():
        assert value in (TRUTH[key], None)
    assert strict["status"] == "done" or strict["reason"] == "unsupported"


@pytest.mark.parametrize("name", KINDS["seen"])
def test_an_ordered_value_that_readers_see_is_taken_for_what_the_page_says_and_its_evidence_shows_the_order(name, runs):
    """The limit of it, said out loud: a model that follows such an order cannot be told from one that reads the page."""
    row = runs["flag"].rows[name]
    assert runs["flag"].ordered(name) == set(ORDERED)
    assert row["unsupported"] == (["/price"] if INJECTIONS[name].far else [])
    assert "FREE GIFT CARD" in row["fields"]["/name"]["evidence"].replace("\\u200b", "")
    assert "49" not in row["fields"]["/price"].get("evidence", "")
