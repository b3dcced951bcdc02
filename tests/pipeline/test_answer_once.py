import asyncio
from dataclasses import replace

import pytest

from scraper.deadline import Deadline, no_deadline
from scraper.errors import Held, ModelFailed, Permanent, Unavailable
from scraper.models import Document, Extraction, ParkReason, Task
from scraper.pipeline.answer_once import AnswerOnce
from scraper.trace import Trace

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
TASK = Task("t", SCHEMA, "0" * 64, url="https://e.example/kettle", instructions="the kettle")
PAGE = Document("Kettle 49.00", "Kettle", {"hidden": 7})
GIVEN = Extraction({"name": "Kettle"}, "m", {"name": {"grounded": True}}, ("price",))


class Memory:
    def __init__(self, *, away=False):
        self.kept = {}
        self.away = away

    async def find(self, key):
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("locked")
        return self.kept.get(key)

    async def keep(self, key, answer):
        self.kept[key] = answer


class Model:
    """An extraction that costs a call; waits for `go` where there is one, and raises what it is told to."""

    def __init__(self, *errors, go=None, calls=1, cut=None):
        self.errors, self.go, self.cost = list(errors), go, calls
        self.cut = cut or {"kept_chars": 5}
        self.asked = 0

    async def extract(self, document, task, *, deadline, trace):
        self.asked += 1
        trace.calls += self.cost
        trace.cut = self.cut
        if self.go is not None:
            await self.go.wait()
        if self.errors:
            raise self.errors.pop(0)
        return GIVEN


def once(model, memory, *, name="m", **asked_with):
    async def model_name():
        return name

    return AnswerOnce(model, answers=memory, model_name=model_name, asked_with={"temperature": 0} | asked_with)


def fresh():
    return Trace(clock=asyncio.get_running_loop().time)


async def ask(step, document=PAGE, task=TASK, *, trace=None, deadline=None):
    deadline = deadline or no_deadline(now=asyncio.get_running_loop().time())
    return await step.extract(document, task, deadline=deadline, trace=trace or fresh())


async def test_the_same_question_is_answered_from_memory():
    model, memory = Model(), Memory()
    assert await ask(once(model, memory)) == GIVEN
    trace = fresh()
    assert await ask(once(model, memory), trace=trace) == GIVEN  # another process, later
    assert (model.asked, trace.cached, trace.calls, trace.cut) == (1, True, 0, {"kept_chars": 5})


@pytest.mark.parametrize(
    "changed",
    [
        {"document": replace(PAGE, text="Kettle 59.00")},
        {"document": replace(PAGE, title="Other")},
        {"document": replace(PAGE, structured=({"price": 1},))},
        {"document": replace(PAGE, outline="1")},
        {"document": replace(PAGE, text="Kettle 49.00K", title="ettle")},
        {"task": replace(TASK, schema={**SCHEMA, "required": ["name"]})},
        {"task": replace(TASK, instructions="the other kettle")},
        {"task": replace(TASK, url="https://e.example/other")},
    ],
    ids=str,
)
async def test_another_question_is_asked(changed):
    model, memory = Model(), Memory()
    await ask(once(model, memory))
    await ask(once(model, memory), **changed)
    assert model.asked == 2


async def test_where_redirects_have_led_is_part_of_the_question():
    model, memory, elsewhere = Model(), Memory(), fresh()
    await ask(once(model, memory))
    elsewhere.url = "https://e.example/kettle-2"
    await ask(once(model, memory), trace=elsewhere)
    assert model.asked == 2


@pytest.mark.parametrize("changed", [{"name": "another"}, {"temperature": 1}, {"max_tokens": 7}], ids=str)
async def test_another_model_or_setting_is_another_question(changed):
    model, memory = Model(), Memory()
    await ask(once(model, memory))
    await ask(once(model, memory, **changed))
    assert model.asked == 2


async def test_rules_of_the_prompt_are_part_of_the_question(monkeypatch):
    model, memory = Model(), Memory()
    await ask(once(model, memory))
    monkeypatch.setattr("scraper.pipeline.prompt._RULES", "Answer in rhymes.")
    await ask(once(model, memory))
    monkeypatch.setattr("scraper.pipeline.answer_once.__version__", "99")
    await ask(once(model, memory))
    assert model.asked == 3


async def test_what_does_not_decide_the_answer_is_no_part_of_the_question():
    model, memory = Model(), Memory()
    await ask(once(model, memory))
    await ask(
        once(model, memory), replace(PAGE, dropped={}), replace(TASK, task_id="u", content_sha256="1", metadata=1)
    )
    assert model.asked == 1


@pytest.mark.parametrize(
    "error", [Permanent(ParkReason.SCHEMA_INVALID, "no name"), ModelFailed("HTTP 500", outage=False)]
)
async def test_only_answers_are_kept(error):
    model, memory = Model(error), Memory()
    with pytest.raises(type(error)):
        await ask(once(model, memory))
    assert memory.kept == {}
    assert await ask(once(model, memory)) == GIVEN


async def test_what_cost_no_call_is_not_kept():
    memory = Memory()
    await ask(once(Model(calls=0), memory))
    assert memory.kept == {}


async def test_an_answer_with_gaps_is_not_kept():
    memory, trace = Memory(), fresh()
    model = Model(cut={"step": "parts", "parts": 3, "unread_parts": 1})
    assert await ask(once(model, memory), trace=trace) == GIVEN
    assert memory.kept == {}


async def test_a_store_that_is_away_is_no_reason_to_fail():
    model = Model()
    assert await ask(once(model, Memory(away=True))) == GIVEN
    assert model.asked == 1


async def test_without_a_models_name_nothing_is_looked_up_or_kept():
    model, memory = Model(), Memory()
    assert await ask(once(model, memory, name=None)) == GIVEN
    assert memory.kept == {}


async def test_equal_questions_at_the_same_moment_cost_one_call():
    go = asyncio.Event()
    model = Model(go=go)
    step = once(model, Memory())
    asking = [asyncio.create_task(ask(step)) for _ in range(5)]
    other = asyncio.create_task(ask(step, replace(PAGE, text="another page")))
    while model.asked < 2:  # noqa: ASYNC110 the other page does not wait for them
        await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*asking, other) == [GIVEN] * 6
    assert model.asked == 2


async def test_where_the_first_fails_the_next_asks_itself():
    go = asyncio.Event()
    model = Model(ModelFailed("HTTP 500", outage=False), go=go)
    step = once(model, Memory())
    first = asyncio.create_task(ask(step))
    others = [asyncio.create_task(ask(step)) for _ in range(3)]
    while not model.asked:  # noqa: ASYNC110 a task counts, and tells nobody
        await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*others) == [GIVEN] * 3
    with pytest.raises(ModelFailed):
        await first
    assert model.asked == 2


async def test_where_the_first_is_cancelled_the_next_asks_itself():
    model = Model(go=asyncio.Event())
    step = once(model, Memory())
    first, second = asyncio.create_task(ask(step)), asyncio.create_task(ask(step))
    while not model.asked:  # noqa: ASYNC110 a task counts, and tells nobody
        await asyncio.sleep(0)
    first.cancel()
    model.go.set()
    assert await second == GIVEN
    assert first.cancelled()


@pytest.mark.virtual_time
async def test_waiting_for_an_equal_question_is_held_time_and_bounded():
    clock = asyncio.get_running_loop().time
    step = once(Model(go=asyncio.Event()), Memory())
    first = asyncio.create_task(ask(step))
    await asyncio.sleep(0.01)
    deadline = Deadline(work_seconds=900, hold_seconds=600, now=clock())
    with pytest.raises(Held, match="asked for another task"):
        await ask(step, deadline=deadline)
    assert deadline.hold_left == pytest.approx(0, abs=0.1)
    assert deadline.work_left(now=clock()) == pytest.approx(900, abs=0.1)
    first.cancel()
