from dataclasses import dataclass, replace

import pytest

from scraper.deadline import no_deadline
from scraper.errors import Held, ModelFailed, Permanent
from scraper.models import Document, ParkReason, Task, Usage
from scraper.pipeline.clean import clean
from scraper.pipeline.extract import Extractor
from scraper.trace import Trace

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "price": {"type": "number"}},
    "required": ["name"],
}
TASK = Task("t", SCHEMA, "0" * 64, url="https://e.example/kettle")
USAGE = Usage(100, 10, 5)
GOOD, WRONG = '{"name": "Kettle"}', '{"name": 3}'


@dataclass(frozen=True)
class Answer:
    text: str
    finish_reason: str | None = "stop"
    model: str | None = "m"
    usage: Usage = USAGE
    stopped: str | None = None


@dataclass(frozen=True)
class Served:
    max_model_len: int | None


class ScriptedModel:
    """Answers in sequence and remembers what it was asked. Counts a token per `bytes_per_token` bytes."""

    def __init__(self, *answers, context=100_000, bytes_per_token=4, can_count=True):
        self.answers = [Answer(each) if isinstance(each, str) else each for each in answers]
        self.context, self.bytes_per_token, self.can_count = context, bytes_per_token, can_count
        self.asked, self.formats, self.counted, self.served = [], [], 0, 0
        self.terms, self.depths = [], []
        self.while_answering = lambda: None
        self.counts_stopped = True

    def tokens(self, messages):
        return sum(len(each["content"].encode()) for each in messages) // self.bytes_per_token + 10

    async def chat(self, messages, *, max_tokens, response_format, sampling, max_depth, deadline, trace):
        self.asked.append([dict(each) for each in messages])
        self.formats.append(response_format)
        self.terms.append({"max_tokens": max_tokens, **sampling})
        self.depths.append(max_depth)
        self.while_answering()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer.stopped and not self.counts_stopped:
            return answer
        return replace(answer, usage=replace(answer.usage, prompt_tokens=self.tokens(messages)))

    async def served_model(self, *, deadline, trace):
        self.served += 1
        return Served(self.context)

    async def count_tokens(self, messages):
        self.counted += 1
        return self.tokens(messages) if self.can_count else None


class Clock:
    now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


@pytest.fixture
def trace():
    return Trace(clock=Clock())


async def extract(model, trace, *, text="Kettle, 12 EUR", task=TASK, **options):
    extractor = Extractor(model, **({"max_tokens": 500} | options))
    return await extractor.extract(Document(text), task, deadline=no_deadline(now=0), trace=trace)


async def refusal(model, trace, **options):
    with pytest.raises(Permanent) as refused:
        await extract(model, trace, **options)
    return refused.value


async def test_an_answer_that_fits_becomes_the_extraction(trace):
    model = ScriptedModel(GOOD)
    extraction = await extract(model, trace)
    assert (extraction.data, extraction.model) == ({"name": "Kettle"}, "m")
    assert len(model.asked) == 1


async def test_what_it_cost_and_the_answer_are_left_in_the_trace(trace):
    model = ScriptedModel(WRONG, GOOD)
    await extract(model, trace)
    assert trace.calls == 2
    assert trace.usage == Usage(sum(model.tokens(each) for each in model.asked), 20, 10)
    assert (trace.model, trace.answer, trace.cut) == ("m", GOOD, None)
    assert trace.timings()["validate"] > 0


async def test_the_model_is_held_to_the_schema_by_its_grammar(trace):
    model = ScriptedModel(GOOD)
    await extract(model, trace)
    assert model.formats[0]["json_schema"]["schema"] == SCHEMA


async def test_a_wrong_answer_is_asked_for_once_more_with_what_was_wrong(trace):
    model = ScriptedModel(WRONG, GOOD)
    assert (await extract(model, trace)).data == {"name": "Kettle"}
    first, second = model.asked
    assert second[: len(first)] == first
    assert second[-2] == {"role": "assistant", "content": WRONG}
    assert '#/name: the value is not of type "string"' in second[-1]["content"]


async def test_an_answer_still_wrong_after_its_repair_parks_with_what_is_wrong(trace):
    error = await refusal(ScriptedModel(WRONG, WRONG), trace)
    assert error.reason is ParkReason.SCHEMA_INVALID
    assert str(error) == 'the answer does not fit the schema after 2 asks: #/name: the value is not of type "string"'
    assert trace.answer == WRONG


@pytest.mark.parametrize(
    ("options", "asks"),
    [({"repair_rounds": 0}, 1), ({"repair_rounds": 3}, 4), ({"repair_rounds": 9, "max_calls": 2}, 2)],
)
async def test_asks_end_with_the_repair_rounds_or_the_calls_of_a_task(options, asks, trace):
    model = ScriptedModel(*[WRONG] * 20)
    await refusal(model, trace, **options)
    assert len(model.asked) == asks == trace.calls


async def test_broken_json_fails_fast(trace):
    model = ScriptedModel("no idea", GOOD)
    assert (await refusal(model, trace)).reason is ParkReason.BAD_ANSWER
    assert len(model.asked) == 1
    assert trace.answer == "no idea"


async def test_a_cut_off_answer_is_not_parsed_but_asked_for_with_more_room(trace):
    model = ScriptedModel(Answer(GOOD, finish_reason="length"), '{"name": "Long"}', context=3000)
    assert (await extract(model, trace)).data == {"name": "Long"}
    assert [each["max_tokens"] for each in model.terms] == [500, 2000]
    assert model.asked[1][0] == model.asked[0][0]
    assert model.asked[1][1]["content"].startswith(model.asked[0][1]["content"])


async def test_a_longer_answer_fits_the_context_beside_its_prompt(trace):
    model = ScriptedModel(Answer("{", finish_reason="length"), GOOD, context=1500)
    await extract(model, trace)
    longer = model.terms[1]["max_tokens"]
    assert 500 < longer <= 1500 - model.tokens(model.asked[1])


async def test_a_longer_answer_is_not_asked_for_where_it_cannot_come_in_time(trace):
    """At the speed of the one that was cut off, more tokens would only end in a timeout, which blames the server."""
    model = ScriptedModel(Answer("{", finish_reason="length"), GOOD)
    model.while_answering = lambda: trace.shift(100.0, to="generate")
    error = await refusal(model, trace, attempt_seconds=120.0)
    assert error.reason is ParkReason.ANSWER_TOO_LONG
    assert str(error) == "the answer was cut off after 10 tokens (VLLM_MAX_TOKENS)"
    assert len(model.asked) == 1


async def test_an_answer_cut_off_again_and_again_parks_and_every_ask_was_another(trace):
    model = ScriptedModel(*[Answer('{"name": "', finish_reason="length")] * 9)
    error = await refusal(model, trace)
    assert error.reason is ParkReason.ANSWER_TOO_LONG
    assert "2 times" in str(error)
    assert [each["max_tokens"] for each in model.terms] == [500, 2000]


async def test_where_no_more_tokens_fit_an_answer_full_of_space_is_asked_for_without_it(trace):
    spaced = Answer('{\n          "name":\n          "Ket', finish_reason="length")
    model = ScriptedModel(spaced, spaced, context=900)
    error = await refusal(model, trace)
    assert error.reason is ParkReason.ANSWER_TOO_LONG
    assert model.terms[1]["max_tokens"] < 1.25 * 500
    assert "on one line" in model.asked[1][1]["content"]
    assert "on one line" not in model.asked[0][1]["content"]


async def test_an_answer_that_runs_away_is_asked_for_on_other_terms(trace):
    model = ScriptedModel(Answer('{"name":   ', "stopped", stopped="whitespace"), GOOD)
    assert (await extract(model, trace)).data == {"name": "Kettle"}
    first, second = model.terms
    assert first == {"max_tokens": 500}
    assert second["temperature"] > 0
    assert second["frequency_penalty"] > 0
    assert "seed" in second


async def test_an_answer_that_runs_away_every_time_parks_and_no_request_came_twice(trace):
    model = ScriptedModel(*[Answer("{", "stopped", stopped="repetition")] * 9)
    error = await refusal(model, trace)
    assert error.reason is ParkReason.ANSWER_TOO_LONG
    assert str(error) == "the answer ran away in repetition after 10 tokens, 3 times (VLLM_MAX_TOKENS)"
    requests = [(str(asked), str(terms)) for asked, terms in zip(model.asked, model.terms, strict=True)]
    assert len(set(requests)) == len(requests) == 3


async def test_changed_terms_stay_for_the_repair(trace):
    model = ScriptedModel(Answer("{", "stopped", stopped="repetition"), WRONG, GOOD)
    await extract(model, trace)
    assert model.terms[1] == model.terms[2]


async def test_a_longer_answer_leaves_room_for_the_repair_of_its_prompt(trace):
    wrong = '{"name": 3, "note": "' + "x" * 3000 + '"}'
    model = ScriptedModel(Answer("{", finish_reason="length"), wrong, GOOD, context=3000)
    await extract(model, trace)
    for asked, terms in zip(model.asked, model.terms, strict=True):
        assert model.tokens(asked) + terms["max_tokens"] <= 3000
    assert model.terms[1]["max_tokens"] > model.terms[2]["max_tokens"] >= 500


async def test_what_a_stopped_answer_cost_is_estimated(trace):
    model = ScriptedModel(Answer("{", "stopped", usage=Usage(0, 70, 0), stopped="number"), GOOD)
    model.counts_stopped = False
    await extract(model, trace)
    assert trace.usage.prompt_tokens > 1.5 * model.tokens(model.asked[1])
    assert trace.usage.completion_tokens == 80


async def test_an_answer_may_be_as_deep_as_its_schema(trace):
    model = ScriptedModel(GOOD)
    await extract(model, trace, task=replace(TASK, schema=SCHEMA | {"additionalProperties": False}))
    assert model.depths == [1]


async def test_a_bad_schema_costs_no_call(trace):
    model = ScriptedModel(GOOD)
    error = await refusal(model, trace, task=replace(TASK, schema={"type": "string"}))
    assert error.reason is ParkReason.BAD_SCHEMA
    assert model.asked == []


async def test_what_asking_raises_passes_through_and_counts_as_a_call(trace):
    with pytest.raises(ModelFailed):
        await extract(ScriptedModel(ModelFailed("timed out", outage=False)), trace)
    assert trace.calls == 1


async def test_no_error_quotes_page_or_answer(trace):
    for answer in ('SECRET {"name": SECRET', '{"SECRET": "SECRET", "name": 1}'):
        error = await refusal(ScriptedModel(answer, answer), trace, text="SECRET")
        assert "SECRET" not in str(error)


async def test_the_address_after_redirects_is_told(trace):
    model = ScriptedModel(GOOD)
    trace.url = "https://e.example/final"
    await extract(model, trace)
    assert "Address: https://e.example/final\n" in model.asked[0][1]["content"]


async def test_a_short_page_is_sent_without_counting(trace):
    model = ScriptedModel(GOOD)
    await extract(model, trace)
    assert model.counted == 0


async def test_counting_stops_once_replies_have_shown_what_a_token_is(trace):
    model = ScriptedModel(*[GOOD] * 5, context=10_000)
    extractor = Extractor(model, max_tokens=500)
    for _ in range(5):
        await extractor.extract(Document("word " * 3000), TASK, deadline=no_deadline(now=0), trace=trace)
    assert model.counted == 1
    assert trace.cut is None


async def test_a_page_that_does_not_fit_is_cut_to_fit_and_the_cut_is_recorded(trace):
    model = ScriptedModel(GOOD, context=3000)
    page = "\n".join(f"line {n}" for n in range(5000))
    await extract(model, trace, text=page)
    assert model.tokens(model.asked[0]) <= 3000 - 500
    assert model.tokens(model.asked[0]) > 0.8 * (3000 - 500)
    assert trace.cut["kept_chars"] + trace.cut["dropped_chars"] == len(page)
    assert trace.cut["limit_tokens"] == 2500
    assert model.asked[0][1]["content"].startswith("<page>\nAddress: https://e.example/kettle\nline 0\n")


FRAMED = "<nav>" + "Departments of this shop, all of them. " * 50 + "</nav><main><h1>Kettle</h1><p>12 EUR</p>{}</main>"


async def extract_page(model, trace, html, **options):
    extractor = Extractor(model, **({"max_tokens": 500} | options))
    return await extractor.extract(clean(html), TASK, deadline=no_deadline(now=0), trace=trace)


async def test_a_page_that_fits_is_shown_whole_and_nothing_is_told_apart(trace):
    model = ScriptedModel(GOOD)
    await extract_page(model, trace, FRAMED.format(""))
    assert "Departments" in model.asked[0][1]["content"]
    assert (trace.cut, model.counted) == (None, 0)


async def test_a_page_that_does_not_fit_loses_its_frame_first(trace):
    model = ScriptedModel(GOOD, context=1450)
    await extract_page(model, trace, FRAMED.format("<p>One more paragraph about it.</p>" * 40))
    shown = model.asked[0][1]["content"]
    assert "Departments" not in shown
    assert shown.count("One more paragraph") == 40
    assert trace.cut["step"] == "frame"
    assert trace.cut["dropped_chars"] > 1900
    assert model.counted == 2  # the whole, and without the frame


async def test_a_long_page_loses_its_frame_also_where_it_fits(trace):
    """The frame of a long page costs more GPU time than it is worth; what the schema asks for stays."""
    model = ScriptedModel(GOOD)
    await extract_page(model, trace, FRAMED.format("<p>One more paragraph about it.</p>" * 600))
    assert "Departments" not in model.asked[0][1]["content"]
    assert trace.cut["step"] == "frame"


async def test_a_page_so_large_that_its_lines_are_told_apart_in_a_thread_comes_out_the_same(trace):
    model = ScriptedModel(GOOD, context=3000)
    await extract_page(model, trace, FRAMED.format("<p>One more paragraph about it.</p>" * 8000))
    assert "12 EUR" in model.asked[0][1]["content"]
    assert trace.cut["step"] == "passages"


async def test_rungs_that_clearly_do_not_fit_are_not_counted(trace):
    model = ScriptedModel(GOOD, context=1600)
    await extract_page(model, trace, FRAMED.format("<p>One more paragraph about it.</p>" * 600))
    assert trace.cut["step"] == "passages"
    assert "12 EUR" in model.asked[0][1]["content"]
    assert model.tokens(model.asked[0]) <= 1100
    assert model.counted == 2


async def test_what_is_asked_next_begins_like_what_was_asked_before(trace):
    model = ScriptedModel(WRONG, GOOD, context=1600)
    await extract_page(model, trace, FRAMED.format("<p>One more paragraph about it.</p>" * 40))
    first, second = model.asked
    assert second[: len(first)] == first


async def test_a_server_that_counts_more_tokens_than_bytes_is_not_believed(trace):
    """Else it would have parked every page as too large."""
    model = ScriptedModel(GOOD, context=3000)
    model.tokens = lambda messages: 1 << 40
    await extract(model, trace, text="Kettle, 12 EUR. " * 200)
    assert model.counted == 1
    assert trace.calls == 1


async def test_a_server_that_cannot_count_gets_a_prompt_that_is_rather_too_short(trace):
    model = ScriptedModel(GOOD, context=3000, can_count=False)
    await extract(model, trace, text="word " * 20_000)
    assert model.tokens(model.asked[0]) <= 2500
    assert trace.cut["dropped_chars"] > 0


async def test_a_repair_that_does_not_fit_with_the_whole_page_gets_less_of_it(trace):
    wrong = '{"name": 3, "note": "' + "x" * 2000 + '"}'
    model = ScriptedModel(wrong, GOOD, context=3000)
    await extract(model, trace, text="word " * 1500)
    assert model.tokens(model.asked[1]) <= 2500
    assert model.asked[1][0] == model.asked[0][0]


async def test_a_schema_that_leaves_no_room_parks_before_any_call(trace):
    model = ScriptedModel(GOOD, context=700)
    error = await refusal(model, trace, task=replace(TASK, instructions="x" * 4000))
    assert error.reason is ParkReason.TOO_LARGE
    assert model.asked == []


async def test_a_context_that_is_set_is_not_asked_for(trace):
    model = ScriptedModel(GOOD, context=None)
    await extract(model, trace, context_tokens=3000, text="word " * 20_000)
    assert model.served == 0
    assert trace.cut["limit_tokens"] == 2500


async def test_a_server_that_does_not_say_its_context_is_taken_for_a_small_one(trace):
    await extract(ScriptedModel(GOOD, context=None), trace, text="word " * 20_000)
    assert trace.cut["limit_tokens"] == 8192 - 500


async def test_a_refusal_of_a_prompt_that_is_too_long_after_all_is_answered_with_a_shorter_one(trace):
    """Ratios mislead: a page of digits has more tokens than its length promises."""
    model = ScriptedModel(GOOD, Permanent(ParkReason.MODEL_REFUSED, "400"), GOOD, context=3000, bytes_per_token=4)
    extractor = Extractor(model, max_tokens=500)
    await extractor.extract(Document("Kettle " * 20), TASK, deadline=no_deadline(now=0), trace=trace)
    model.bytes_per_token = 1
    page = "0123456789" * 350
    await extractor.extract(Document(page), TASK, deadline=no_deadline(now=0), trace=trace)
    assert len(model.asked) == 3
    assert len(model.asked[2][-1]["content"]) < len(model.asked[1][-1]["content"])
    assert trace.cut["kept_chars"] < len(page)


async def test_a_refusal_of_a_prompt_that_fits_is_final(trace):
    model = ScriptedModel(Permanent(ParkReason.MODEL_REFUSED, "400"))
    assert (await refusal(model, trace)).reason is ParkReason.MODEL_REFUSED
    assert len(model.asked) == 1


async def test_the_calls_of_a_task_are_never_exceeded_not_even_after_a_refusal(trace):
    model = ScriptedModel(GOOD, Permanent(ParkReason.MODEL_REFUSED, "400"), GOOD, context=3000, bytes_per_token=4)
    extractor = Extractor(model, max_tokens=500, max_calls=1)
    await extractor.extract(Document("Kettle " * 20), TASK, deadline=no_deadline(now=0), trace=Trace(clock=Clock()))
    model.bytes_per_token = 1
    with pytest.raises(Permanent) as refused:
        await extractor.extract(Document("0123456789" * 350), TASK, deadline=no_deadline(now=0), trace=trace)
    assert refused.value.reason is ParkReason.MODEL_REFUSED
    assert trace.calls == 1
    assert len(model.asked) == 2


async def test_a_server_that_does_not_tell_its_context_is_pointed_out_once(trace):
    seen = []
    extractor = Extractor(ScriptedModel(GOOD, GOOD, context=None), max_tokens=500, observe=seen.append)
    for _ in range(2):
        await extractor.extract(Document("Kettle"), TASK, deadline=no_deadline(now=0), trace=trace)
    assert [event.setting for event in seen] == ["VLLM_CONTEXT_TOKENS"]


async def test_answers_that_leave_no_room_for_a_page_hold_the_task_and_name_the_setting(trace):
    seen = []
    extractor = Extractor(ScriptedModel(context=500), max_tokens=500, observe=seen.append)
    with pytest.raises(Held, match="VLLM_MAX_TOKENS"):
        await extractor.extract(Document("Kettle"), TASK, deadline=no_deadline(now=0), trace=trace)
    assert [event.setting for event in seen] == ["VLLM_MAX_TOKENS"]


async def test_a_made_up_value_is_kept_and_listed_unless_grounding_is_strict(trace):
    made_up = '{"name": "Kettle", "price": 99.5}'
    extraction = await extract(ScriptedModel(made_up), trace)
    assert (extraction.data["price"], extraction.unsupported) == (99.5, ("/price",))
    assert extraction.fields["/name"] == {"source": "model", "grounded": True, "evidence": "Kettle, 12 EUR"}
    strict = await extract(ScriptedModel(made_up, '{"price": 12}'), trace, grounding="strict")
    assert (strict.data, strict.unsupported) == ({"name": "Kettle", "price": 12}, ())


async def test_the_question_for_made_up_values_counts_among_the_calls_of_a_task(trace):
    model = ScriptedModel('{"name": "Kettle", "price": 99.5}')
    extraction = await extract(model, trace, grounding="strict", max_calls=1)
    assert extraction.data == {"name": "Kettle"}
    assert trace.calls == 1


async def test_an_address_that_is_the_pages_own_is_no_invention(trace):
    schema = {"type": "object", "properties": {"url": {"type": "string", "format": "uri"}}}
    answer = '{"url": "https://e.example/kettle"}'
    assert (await extract(ScriptedModel(answer), trace, task=replace(TASK, schema=schema))).unsupported == ()


# What the page says for machines

PRODUCT = {"@type": ["Product"], "name": "Red kettle", "offers": {"@type": ["Offer"], "price": 12}}
NAMES = {
    "headings": ["Red kettle"],
    "title": "Red kettle",
    "social_title": "",
    "url": "",
    "canonical": "",
    "social_url": "",
}
STRUCTURED = (
    {"source": "page", "path": "", "value": NAMES},
    {"source": "json_ld", "path": "/0", "value": PRODUCT},
)
KETTLE = Document("# Red kettle\n12 EUR, stainless steel", structured=STRUCTURED)
SHOP = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "price": {"type": "number"}},
    "required": ["name", "price"],
}
WITH_FINISH = SHOP | {"properties": SHOP["properties"] | {"finish": {"type": "string"}}, "required": ["finish"]}


async def extract_kettle(model, trace, *, schema=SHOP, instructions="", document=KETTLE, **options):
    task = replace(TASK, schema=schema, instructions=instructions)
    extractor = Extractor(model, max_tokens=500, **options)
    return await extractor.extract(document, task, deadline=no_deadline(now=0), trace=trace)


async def test_where_the_pages_data_answers_every_property_no_model_is_asked(trace):
    model = ScriptedModel()
    found = await extract_kettle(model, trace)
    assert found.data == {"name": "Red kettle", "price": 12}
    assert (found.model, trace.calls, model.served) == (None, 0, 0)
    assert found.fields["/price"] == {
        "source": "json_ld",
        "path": "/0/offers/price",
        "grounded": True,
        "evidence": "12 EUR, stainless steel",
    }
    assert found.unsupported == ()


async def test_the_model_is_asked_only_for_what_is_missing(trace):
    model = ScriptedModel('{"finish": "stainless steel"}')
    found = await extract_kettle(model, trace, schema=WITH_FINISH)
    assert found.data == {"name": "Red kettle", "price": 12, "finish": "stainless steel"}
    assert [found.fields[each]["source"] for each in ("/name", "/price", "/finish")] == ["json_ld", "json_ld", "model"]
    asked = model.formats[0]["json_schema"]["schema"]
    assert (list(asked["properties"]), asked["required"]) == (["finish"], ["finish"])
    system, user = model.asked[0]
    assert '"price"' in system["content"]
    assert '{"name": "Red kettle", "price": 12}' in user["content"].split("</page>")[1]


async def test_a_list_that_the_pages_data_tells_whole_is_not_read_in_parts(trace):
    entries = [{"@type": ["Product"], "name": f"Kettle {number}", "position": number} for number in range(1, 101)]
    listed = {"@type": ["ItemList"], "itemListElement": entries, "numberOfItems": 100}
    shown = "\n".join(
        f"### Kettle {number}\nIt boils two litres of water in three minutes." for number in range(1, 101)
    )
    page = Document(
        f"# Our kettles\n{shown}\nSorted by size", structured=(STRUCTURED[0], STRUCTURED[1] | {"value": listed})
    )
    entry = {"type": "object", "properties": {"name": {"type": "string"}}}
    schema = {
        "type": "object",
        "properties": {"results": {"type": "array", "items": entry}, "order": {"type": "string"}},
    }
    model = ScriptedModel('{"order": "size"}', context=2_500)
    found = await extract_kettle(model, trace, schema=schema, document=page)
    assert found.data["results"][99] == {"name": "Kettle 100"}
    assert found.data["order"] == "size"
    assert trace.calls == 1
    assert model.formats[0]["json_schema"]["schema"]["properties"].keys() == {"order"}


async def test_the_system_message_is_the_same_with_and_without_known_values(trace):
    model = ScriptedModel('{"finish": "steel"}', '{"finish": "steel"}')
    await extract_kettle(model, trace, schema=WITH_FINISH)
    await extract_kettle(model, trace, schema=WITH_FINISH, document=replace(KETTLE, structured=()))
    assert model.asked[0][0] == model.asked[1][0]


async def test_a_part_that_does_not_fit_the_rest_is_asked_for_with_everything(trace):
    """Rules over several properties cannot be in a narrowed form."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "price": {"type": "number"}},
        "allOf": [{"properties": {"price": {"maximum": 10}}}],
    }
    model = ScriptedModel('{"name": "Red kettle", "price": 9}')
    found = await extract_kettle(model, trace, schema=schema)
    assert found.data == {"name": "Red kettle", "price": 9}
    assert found.fields["/name"]["source"] == "model"
    assert model.formats[0]["json_schema"]["schema"]["properties"].keys() == {"name", "price"}


@pytest.mark.parametrize(
    "rule",
    [
        {"maxProperties": 1},
        {"oneOf": [{"required": ["name"]}, {"required": ["price"]}]},
        {"enum": [{"name": "Kettle"}]},
    ],
    ids=lambda rule: next(iter(rule)),
)
async def test_data_that_says_all_and_does_not_fit_together_is_no_answer(trace, rule):
    model = ScriptedModel('{"name": "Kettle"}')
    found = await extract_kettle(model, trace, schema={"type": "object", "properties": SHOP["properties"]} | rule)
    assert found.data == {"name": "Kettle"}
    assert found.fields["/name"]["source"] == "model"
    assert trace.calls == 1


async def test_no_call_is_left_to_ask_for_everything_where_the_rest_does_not_fit(trace):
    schema = WITH_FINISH | {"required": ["finish", "of_no_property"]}  # a narrowed form cannot ask for it
    model = ScriptedModel('{"finish": "steel"}')
    with pytest.raises(Permanent, match="do not fit the schema together") as failure:
        await extract_kettle(model, trace, schema=schema, max_calls=1)
    assert failure.value.reason is ParkReason.SCHEMA_INVALID
    assert trace.calls == 1


async def test_hints_are_told_and_everything_is_asked_for(trace):
    model = ScriptedModel('{"name": "Red kettle", "price": 12}')
    found = await extract_kettle(model, trace, structured_data="hint")
    assert found.fields["/price"]["source"] == "model"
    assert '{"name": "Red kettle", "price": 12}' in model.asked[0][1]["content"].split("</page>")[1]
    assert model.formats[0]["json_schema"]["schema"]["properties"].keys() == {"name", "price"}


async def test_instructions_may_change_what_a_field_means_so_everything_is_asked_for(trace):
    model = ScriptedModel('{"name": "Red kettle", "price": 12}')
    await extract_kettle(model, trace, instructions="the name in capitals")
    assert trace.calls == 1
    assert "<known>" in model.asked[0][1]["content"]


async def test_off_means_that_nothing_of_it_is_used(trace):
    model = ScriptedModel('{"name": "Red kettle", "price": 12}')
    await extract_kettle(model, trace, structured_data="off")
    assert "known" not in model.asked[0][1]["content"]


async def test_strict_grounding_does_not_ask_for_what_the_page_itself_says(trace):
    """An availability is shown as a button, in no words that could be looked up."""
    offers = {"@type": ["Offer"], "price": 12, "availability": "https://schema.org/InStock"}
    structured = (STRUCTURED[0], STRUCTURED[1] | {"value": PRODUCT | {"offers": offers}})
    schema = {"type": "object", "properties": {"price": {"type": "number"}, "availability": {"type": "string"}}}
    found = await extract_kettle(
        ScriptedModel(), trace, schema=schema, document=replace(KETTLE, structured=structured), grounding="strict"
    )
    assert found.data == {"price": 12, "availability": "InStock"}
