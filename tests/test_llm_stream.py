import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.llm_stream import BrokenReply, begins_tokens, ends_stream, parse_reply
from scraper.models import Usage
from scraper.throttle.verdict import Ending
from tests.scripted_server import events


@given(st.lists(st.text(), max_size=20))
def test_whatever_the_words_are_they_come_out_as_they_went_in(texts):
    reply = parse_reply(b"".join(events(*texts)))
    assert reply.text == "".join(texts)
    assert reply.usage == Usage(5, len(texts), 2)


AN_EVENT = st.sampled_from(["content", "reasoning", "both", "role", "comment", "named"]) | st.just("content")


@given(st.lists(st.tuples(AN_EVENT, st.text(alphabet='ab"\\\n{}:,é😀', max_size=4)), max_size=30))
def test_whatever_stands_between_the_words_they_come_out_as_they_went_in(parts):
    said = {
        "content": lambda word: {"content": word},
        "reasoning": lambda word: {"reasoning": word},
        "both": lambda word: {"content": word, "reasoning": word},
        "role": lambda word: {"role": "assistant", "content": word},
    }
    lines = []
    for kind, word in parts:
        if kind == "comment":
            lines.append(b": ping\n\n")
        else:
            event = {"choices": [{"delta": said.get(kind, said["content"])(word), "finish_reason": None}]}
            named = {"debug": {"content": "same"}, **event} if kind == "named" else event
            lines.append(b"data: " + json.dumps(named, separators=(",", ":")).encode() + b"\n\n")
    words = [word for kind, word in parts if kind not in {"reasoning", "comment"}]
    assert parse_reply(b"".join([*lines, *events()])).text == "".join(words)


@pytest.mark.parametrize(
    "broken",
    [b'"a\\"', b'"a', b'"a\nb"', b'"a" "b"', b'"a\x01"', b""],
    ids=["end escaped", "no end", "over two lines", "two", "a control character", "none"],
)
@pytest.mark.parametrize("place", [0, 3, 6])
def test_one_broken_event_among_many_breaks_the_answer(broken, place):
    event = b'data: {"choices":[{"delta":{"content":%b},"finish_reason":null}]}\n\n'
    several = [event % b'"n"'] * 7  # behind a backslash it is a line end
    several[place] = event % broken
    with pytest.raises(BrokenReply, match="broken JSON"):
        parse_reply(b"".join([*several, *events()]))


@given(st.binary(max_size=300))
def test_whatever_the_bytes_are_it_is_a_reply_or_a_broken_one(body):
    try:
        ending = parse_reply(body) and Ending.ANSWERED
    except BrokenReply as broken:
        ending = broken.ending
    assert ending in {Ending.ANSWERED, Ending.NO_ANSWER, Ending.NOT_A_COMPLETION, Ending.SERVER_ERROR}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "message", "content", "usage", "error", "finish_reason", "model", "index"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_whatever_the_json_is_it_is_a_reply_or_a_broken_one(value, whole):
    text = json.dumps(value).encode()
    try:
        reply = parse_reply(text if whole else b"data: " + text + b"\n\ndata: [DONE]\n\n")
    except BrokenReply:
        return
    assert isinstance(reply.text, str)
    assert isinstance(reply.usage, Usage)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_any_line_end_will_do_and_comments_are_ignored(line_end):
    body = b": ping\n\n" + b"".join(events("a", "b"))
    assert parse_reply(body.replace(b"\n", line_end)).text == "ab"


def test_words_before_a_reasoning_field_do_not_matter():
    thought = b'data: {"choices":[{"delta":{"reasoning":"hm"},"finish_reason":null}]}\n\n'
    assert parse_reply(thought + b"".join(events("yes"))).text == "yes"


def test_an_answer_without_usage_counts_nothing():
    assert parse_reply(b"".join(events("a", usage=False))).usage == Usage()


def test_an_error_event_names_its_type_and_nothing_else():
    body = b'data: {"error": {"message": "page text here", "type": "InternalServerError"}}\n\ndata: [DONE]\n\n'
    with pytest.raises(BrokenReply, match="InternalServerError") as broken:
        parse_reply(body)
    assert "page text" not in str(broken.value)
    assert broken.value.ending is Ending.SERVER_ERROR


@pytest.mark.parametrize("kept", [10, 60, 120, 200])
def test_a_stream_cut_anywhere_is_no_whole_answer(kept):
    with pytest.raises(BrokenReply) as broken:
        parse_reply(b"".join(events("a", "b", "c"))[:kept])
    assert broken.value.ending in {Ending.NO_ANSWER, Ending.NOT_A_COMPLETION}


@pytest.mark.parametrize(
    ("piece", "begins_line", "ends"),
    [
        (b"data: [DONE]\n\n", True, True),
        (b"data: [DONE]\n\n", False, False),
        (b'data: {"x": 1}\n\ndata: [DONE]\r\n\r\n', True, True),
        (b'"x": 1}\n\ndata: [DONE]\n\n', False, True),
        (b"data:[DONE]\n", True, True),
        (b'data: {"content": "data: [DONE]"}\n\n', True, False),
        (b'data: {"content": "it ends with data: [DONE]', True, False),
        (b'data: {"x": 1}\n\ndata: {"content": "data: [DONE]', True, False),
        (b"data: [DO", True, False),
    ],
)
def test_the_end_of_a_stream_is_a_line_of_its_own(piece, begins_line, ends):
    assert ends_stream(piece, begins_line=begins_line) is ends


def test_comments_that_keep_a_stream_alive_are_no_tokens():
    assert not begins_tokens(b": ping\n\n")
    assert begins_tokens(b": ping\n\ndata: {}\n\n")


def whole_reply(*, text="fine", finish_reason="stop", model="m", usage=None):
    choice = {"message": {"content": text}, "finish_reason": finish_reason}
    return parse_reply(json.dumps({"choices": [choice], "model": model, "usage": usage}).encode())


@pytest.mark.parametrize("count", [2**31 + 1, 2**63, 2**70, True, -1, "7", 1.5, 1e300, None, [7]])
def test_a_count_of_tokens_that_no_answer_can_have_is_none(count):
    """Neither the throttle, which is told it, nor the results database takes a number of any size."""
    usage = {"prompt_tokens": count, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": count}}
    assert whole_reply(usage=usage).usage == Usage(0, 7, 0)


@pytest.mark.parametrize(
    "reason", [["stop"], {"stop": 1}, 7, True, "s" * 1000, "st\nop", "st\x1b[31mop", "\ud800", "a-key-7d20e5"]
)
def test_a_finish_reason_that_is_no_word_is_none(reason):
    assert whole_reply(finish_reason=reason).finish_reason is None


@pytest.mark.parametrize("model", [["m"], 7, "m" * 1000, "m\n", "m\x00", "\ud800"])
def test_a_name_of_a_model_that_nobody_could_print_is_none(model):
    assert whole_reply(model=model).model is None
