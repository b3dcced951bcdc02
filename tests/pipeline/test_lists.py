"""Long lists: read in parts where page or answer is too long, merged, and honest about what is missing."""

import json
import re
from dataclasses import dataclass

import pytest

from scraper.deadline import no_deadline
from scraper.errors import Permanent
from scraper.models import Document, ParkReason, Task, Usage
from scraper.pipeline.clean import clean
from scraper.pipeline.extract import Extractor
from scraper.trace import Trace

SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "price": {"type": "number"}},
                "required": ["name"],
            },
        },
    },
    "required": ["title", "items"],
}
TASK = Task("t", SCHEMA, "0" * 64, url="https://e.example/list")


@dataclass(frozen=True)
class Answer:
    text: str
    finish_reason: str | None
    usage: Usage
    model: str | None = "m"
    stopped: str | None = None


class Reader:
    """Lists what the page it is shown lists, four bytes a token, and no further than it may write."""

    def __init__(self, *, context=100_000, spoils=()):
        self.context, self.spoils = context, set(spoils)
        self.shown, self.formats = [], []

    @property
    def max_model_len(self):
        return self.context

    async def served_model(self, *, deadline, trace):
        return self

    async def count_tokens(self, messages):
        return sum(len(each["content"].encode()) for each in messages) // 4 + 10

    async def chat(self, messages, *, max_tokens, response_format, sampling, max_depth, deadline, trace):
        prompt_tokens = await self.count_tokens(messages)
        assert prompt_tokens + max_tokens <= self.context
        page = messages[1]["content"]
        self.shown.append(page)
        self.formats.append(response_format["json_schema"]["schema"])
        found = re.findall(r"- (kettle \d+), ([\d.]+) EUR", " ".join(page.split()))
        items = [{"name": name, "price": float(price)} for name, price in found]
        title = re.search(r"^# (.+)$", page, re.MULTILINE)
        listed = {"items": items} if "items" in response_format["json_schema"]["schema"]["properties"] else {}
        text = json.dumps(({"title": title[1]} if title else {}) | listed)
        if len(self.shown) - 1 in self.spoils:
            text = '{"items": [{"name": 3}]}'
        whole = len(text) // 4 <= max_tokens
        usage = Usage(prompt_tokens, min(len(text) // 4, max_tokens))
        return Answer(text if whole else text[: 4 * max_tokens], "stop" if whole else "length", usage)


def listing(count):
    items = "".join(f"<li>kettle {n}, {n}.50 EUR</li>" for n in range(count))
    return clean(f"<title>Shop</title><h1>All kettles</h1><ul>{items}</ul>")


def kettles(count):
    return [{"name": f"kettle {n}", "price": n + 0.5} for n in range(count)]


@pytest.fixture
def trace():
    return Trace(clock=iter(range(10**9)).__next__)


async def extract(model, trace, document, **options):
    extractor = Extractor(model, **({"max_tokens": 1000} | options))
    return await extractor.extract(document, TASK, deadline=no_deadline(now=0), trace=trace)


async def test_a_list_that_fits_is_one_call(trace):
    model = Reader()
    assert (await extract(model, trace, listing(50))).data == {"title": "All kettles", "items": kettles(50)}
    assert trace.calls == 1
    assert trace.cut is None


async def test_a_page_that_does_not_fit_is_read_in_parts_and_nothing_is_missing_or_twice(trace):
    model = Reader(context=3000)
    found = await extract(model, trace, listing(600), max_tokens=2000 - 900)
    assert found.data == {"title": "All kettles", "items": kettles(600)}
    assert trace.calls == len(model.shown) > 2
    assert trace.cut["step"] == "parts"
    assert trace.cut["unread_parts"] == 0


async def test_an_answer_that_is_cut_off_is_read_in_parts(trace):
    model = Reader()
    found = await extract(model, trace, listing(400))
    assert found.data == {"title": "All kettles", "items": kettles(400)}
    assert trace.cut["step"] == "parts"
    assert trace.cut["unread_parts"] == trace.cut["dropped_chars"] == 0
    assert trace.calls == 1 + trace.cut["parts"]


async def test_every_part_begins_like_the_others_and_says_what_page_it_is_of(trace):
    model = Reader()
    await extract(model, trace, listing(400))
    assert len(model.shown) > 2
    assert all(page.startswith("<page>\nAddress: https://e.example/list\nTitle: Shop\n") for page in model.shown)
    assert all("Only a part of the page is shown" in page for page in model.shown[1:])


async def test_a_part_is_not_forced_to_make_up_what_stands_in_another(trace):
    model = Reader()
    await extract(model, trace, listing(400))
    assert model.formats[0]["required"] == ["title", "items"]
    assert len(model.formats) > 2
    assert all(shape["required"] == [] for shape in model.formats[1:])


async def test_calls_never_exceed_those_of_a_task_and_what_was_not_read_is_said(trace):
    found = await extract(Reader(), trace, listing(2000), max_calls=3)
    assert trace.calls == 3
    assert trace.cut["unread_parts"] > 0
    assert trace.cut["dropped_chars"] > 1000
    names = [item["name"] for item in found.data["items"]]
    assert names == [f"kettle {n}" for n in range(len(names))]


async def test_a_part_whose_answer_is_cut_off_again_is_split_again(trace):
    """The second half of this page lists ten times as much as its length promises."""
    words = "".join(f"<p>Kettles have a long history, part {n} of which is told here.</p>" for n in range(300))
    items = "".join(f"<li>kettle {n}, {n}.50 EUR</li>" for n in range(400))
    page = clean(f"<h1>All kettles</h1><p>{words}</p><ul>{items}</ul>")
    found = await extract(Reader(), trace, page, max_tokens=1000)
    assert found.data["items"] == kettles(400)


async def test_what_one_part_needed_is_given_to_the_next_at_once(trace):
    class Wordy(Reader):
        """Takes six times the tokens, and tells how many it was given."""

        given = ()

        async def chat(self, messages, *, max_tokens, **asked):
            self.given += (max_tokens,)
            answer = await super().chat(messages, max_tokens=max_tokens // 6, **asked)
            self.given += (answer.finish_reason,)
            return answer

    model = Wordy()
    assert (await extract(model, trace, listing(120), max_tokens=600)).data["items"] == kettles(120)
    assert model.given == (600, "length", 600, "length", *[2400, "stop"] * 4)


async def test_a_part_that_stays_wrong_is_missing_and_said_to_be(trace):
    model = Reader(spoils=(2, 3))  # the second part and its repair
    found = await extract(model, trace, listing(400))
    assert trace.cut["unread_parts"] == 1
    assert 100 < len(found.data["items"]) < 400


async def test_parts_that_are_all_wrong_park_with_what_is_wrong(trace):
    with pytest.raises(Permanent) as refused:
        await extract(Reader(spoils=range(1, 100)), trace, listing(400))
    assert refused.value.reason is ParkReason.SCHEMA_INVALID
    assert trace.calls <= 12


async def test_one_thing_is_never_read_in_parts(trace):
    task = Task("t", {"type": "object", "properties": {"title": {"type": "string"}}}, "0" * 64)
    model = Reader(context=3000)
    extractor = Extractor(model, max_tokens=1000)
    await extractor.extract(listing(2000), task, deadline=no_deadline(now=0), trace=trace)
    assert trace.calls == 1
    assert trace.cut["step"] == "passages"


async def test_a_list_in_one_endless_line_is_read_in_parts_too(trace):
    text = " ".join(f"- kettle {n}, {n}.50 EUR" for n in range(400))
    found = await extract(Reader(), trace, Document("# All kettles\n" + text))
    assert found.data["items"] == kettles(400)


async def test_a_question_that_leaves_no_room_for_any_part_is_given_up_at_once(trace):
    model = Reader(context=2500)
    task = Task("t", SCHEMA, "0" * 64, instructions="Mind the kettles. " * 500)
    with pytest.raises(Permanent) as refused:
        await Extractor(model, max_tokens=1000).extract(listing(600), task, deadline=no_deadline(now=0), trace=trace)
    assert refused.value.reason is ParkReason.TOO_LARGE
    assert trace.calls == 0


async def test_a_list_of_more_lines_than_any_page_has_is_read_as_far_as_the_calls_go(trace):
    document = Document("# All kettles\n" + "\n".join(f"- kettle {n}, {n}.50 EUR" for n in range(60_000)))
    found = await extract(Reader(context=8000), trace, document, max_calls=3)
    assert trace.calls <= 3
    assert trace.cut["unread_parts"] > 10
    assert found.data["items"][0] == {"name": "kettle 0", "price": 0.5}
