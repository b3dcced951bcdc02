import asyncio

import pytest

from scraper.errors import ModelFailed, Permanent
from scraper.models import ParkReason
from scraper.pipeline.grounded import LARGE_CHARS, grounded
from scraper.pipeline.grounding import PageIndex
from scraper.pipeline.prompt import prompt_for
from scraper.pipeline.schema import compile_schema

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "price": {"type": "number"},
        "weight": {"type": ["number", "null"]},
        "city": {"type": "string"},
    },
    "required": ["name", "weight"],
}
PAGE = "Acme Kettle, now 12,99 €, ships from Oslo"
GOOD = {"name": "Acme Kettle", "price": 12.99, "weight": None}


class Asked:
    """A conversation that gives the next of its answers, and remembers the questions."""

    def __init__(self, *answers, calls_left=5):
        self.answers, self.calls_left = list(answers), calls_left
        self.prompts, self.shapes = [], []

    async def answer(self, prompt, shape):
        self.prompts.append(prompt)
        self.shapes.append(shape)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def ground(data, model=None, *, mode="strict", schema=SCHEMA, **known):
    compiled = compile_schema(schema)
    prompt = prompt_for(compiled)
    return await grounded(data, compiled, PageIndex(PAGE), mode=mode, model=model or Asked(), prompt=prompt, **known)


@pytest.mark.parametrize("mode", ["flag", "strict"])
async def test_an_answer_from_the_page_stays_and_costs_nothing_more(mode):
    model = Asked()
    found = await ground(GOOD, model, mode=mode)
    assert (found.data, found.unsupported) == (GOOD, ())
    assert found.fields["/price"] == {"source": "model", "grounded": True, "evidence": PAGE}
    assert model.prompts == []


async def test_flag_keeps_what_is_not_on_the_page_and_lists_it():
    data = {**GOOD, "price": 99.5}
    found = await ground(data, mode="flag")
    assert (found.data, found.unsupported) == (data, ("/price",))


async def test_off_looks_nothing_up():
    data = {**GOOD, "price": 99.5}
    found = await ground(data, mode="off", known={"/name": {"source": "json_ld"}})
    assert (found.data, found.fields, found.unsupported) == (data, {"/name": {"source": "json_ld"}}, ())


async def test_strict_asks_once_for_the_values_that_are_missing_and_takes_those_that_are_there():
    model = Asked({"price": 12.99})
    found = await ground({**GOOD, "price": 99.5}, model)
    assert (found.data, found.unsupported) == (GOOD, ())
    [prompt], [shape] = model.prompts, model.shapes
    assert list(shape.schema["properties"]) == ["price"]
    assert "- /price\n" in prompt.messages(PAGE)[-1]["content"]
    assert prompt.messages(PAGE)[:2] == prompt_for(compile_schema(SCHEMA)).messages(PAGE)


async def test_strict_leaves_out_what_is_still_not_there_or_says_null_where_it_must_say_something():
    found = await ground({**GOOD, "price": 99.5, "weight": 7.25}, Asked({"price": 98.5, "weight": None}))
    assert found.data == {"name": "Acme Kettle", "weight": None}
    assert found.unsupported == ("/price", "/weight")
    assert set(found.fields) == {"/name", "/weight"}


async def test_strict_parks_where_a_required_value_is_not_there_and_quotes_no_value():
    with pytest.raises(Permanent) as refused:
        await ground({**GOOD, "name": "Secret Toaster"}, Asked({"name": "Secret Grill"}))
    assert refused.value.reason is ParkReason.UNSUPPORTED
    assert str(refused.value) == "required values do not stand on the page: #/name"


async def test_an_error_names_no_key_that_the_model_made_up():
    schema = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}}
    with pytest.raises(Permanent) as refused:
        await ground({"SECRET": "nowhere"}, Asked({"SECRET": "nowhere"}), schema=schema)
    assert "SECRET" not in str(refused.value)


async def test_strict_asks_nothing_where_no_call_is_left():
    model = Asked(calls_left=0)
    found = await ground({**GOOD, "price": 99.5}, model)
    assert found.data == {"name": "Acme Kettle", "weight": None}
    assert model.prompts == []


async def test_a_question_without_an_answer_leaves_the_first_one_standing():
    model = Asked(Permanent(ParkReason.BAD_ANSWER, "the answer is empty"))
    assert (await ground({**GOOD, "price": 99.5}, model)).data == {"name": "Acme Kettle", "weight": None}


async def test_an_outage_during_the_question_is_an_outage():
    with pytest.raises(ModelFailed):
        await ground({**GOOD, "price": 99.5}, Asked(ModelFailed("timed out", outage=True)))


async def test_a_schema_that_cannot_be_narrowed_is_asked_whole():
    schema = {**SCHEMA, "allOf": [{"properties": {"price": {"minimum": 0}}}]}
    model = Asked(GOOD)
    assert (await ground({**GOOD, "price": 99.5}, model, schema=schema)).data == GOOD
    assert model.shapes[0].schema == schema


async def test_a_list_of_values_loses_those_that_are_not_there():
    schema = {"type": "array", "items": {"type": "string"}}
    found = await ground(["Oslo", "Rome"], Asked(["Oslo", "Rome"]), schema=schema)
    assert (found.data, found.unsupported) == (["Oslo"], ("/1",))


async def test_values_from_elsewhere_are_neither_asked_for_nor_left_out():
    known = {"/price": {"source": "json_ld", "grounded": True}}
    found = await ground({**GOOD, "price": 99.5}, known=known)
    assert found.data["price"] == 99.5
    assert found.fields["/price"] == known["/price"]


async def test_a_large_page_is_looked_through_without_stopping_the_event_loop():
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    compiled = compile_schema({"type": "array", "items": {"type": "string"}})
    page = PageIndex(f"{PAGE}\n" * (LARGE_CHARS // len(PAGE)))
    data = ["Acme Kettle", *(f"no such thing as {number}" for number in range(20))]
    beside = asyncio.create_task(others())
    await asyncio.sleep(0)
    before = turns
    found = await grounded(data, compiled, page, mode="flag", model=Asked(), prompt=prompt_for(compiled))
    beside.cancel()
    assert turns > before
    assert len(found.unsupported) == 20
