import json

import pytest

from scraper.llm_errors import error_text, misconfiguration

PROMPT = "Extract the product. Page: The Oak Table by Jane Doe, phone 555-0199, costs 1,299 euros in the spring sale."


def body(message, kind="BadRequestError"):
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": 400}}).encode()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (body("max_tokens must be at least 1, got 0."), "400 BadRequestError: max_tokens must be at least 1, got 0."),
        (
            body('Grammar error: Unimplemented keys: ["uniqueItems"]'),
            '400 BadRequestError: Grammar error: Unimplemented keys: ["uniqueItems"]',
        ),
        (b'{"error": "Unauthorized"}', "400: Unauthorized"),
        (b'{"detail": "Not Found"}', "400: Not Found"),
        (b"<html>Bad Gateway</html>", "400"),
        (b"", "400"),
        (b'{"error": 7}', "400"),
        (b'{"error": {"message": ["x"], "type": 3}}', "400"),
        (b"[" * 100_000, "400"),
        (b"\xff\xfe\x00", "400"),
        (body("two\nlines\x00 and\x1b[31m colour"), "400 BadRequestError: two lines and [31m colour"),
    ],
)
def test_what_may_be_quoted_of_an_error(raw, text):
    assert error_text(400, raw, prompt=PROMPT) == text


@pytest.mark.parametrize(
    "message",
    [
        f"This prompt is too long: {PROMPT}",
        "value error at 'The Oak Table by Jane Doe'",
        'input was "Jane Doe"',
        "you wrote: Jane Doe, phone 555-0199, cos and so on",
        "{'role': 'user', 'content': 'The Oak Table'}",
    ],
)
def test_nothing_of_the_prompt_is_quoted(message):
    text = error_text(400, body(message), prompt=PROMPT)
    assert "Jane" not in text
    assert "Oak" not in text


def test_a_long_message_is_cut():
    assert len(error_text(500, body("ab cd ef " * 200))) < 340


def test_the_key_is_never_quoted():
    assert "sk-secret" not in error_text(401, b'{"error": "bad key sk-secret"}', secret="sk-secret")


@pytest.mark.parametrize("before", range(250, 310, 7))
def test_no_beginning_of_the_key_is_quoted_where_a_message_is_cut(before):
    secret = "sk-0123456789abcdefghijklmnopqrstuvwxyz"
    assert "sk-" not in error_text(401, body("a " * (before // 2) + secret), secret=secret)
    assert "sk-" not in error_text(401, body("no", kind="k" * (before // 10) + secret), secret=secret)


@pytest.mark.parametrize(
    ("status", "raw", "setting"),
    [
        (401, b"", "VLLM_API_KEY"),
        (403, b"", "VLLM_API_KEY"),
        (404, body("The model does not exist", "NotFoundError"), "VLLM_MODEL"),
        (404, b'{"detail": "Not Found"}', "VLLM_BASE_URL"),
        (404, b"<html>", "VLLM_BASE_URL"),
        (405, b"", "VLLM_BASE_URL"),
        (301, b"", "VLLM_BASE_URL"),
    ],
)
def test_the_setting_to_blame_is_named_with_advice(status, raw, setting):
    wrong = misconfiguration(status, raw, model="m")
    assert wrong.setting == setting
    assert len(wrong.advice) > 20
