import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.pipeline.budget import TEMPLATE_TOKENS, PromptSize, TokenRatio, cut, keep_chars, prompt_size


def learned(*seen):
    ratio = TokenRatio()
    for each in seen:
        ratio.learn("m", PromptSize(int(10_000 * each), 0), prompt_tokens=10_000)
    return ratio


def test_before_any_reply_a_token_may_be_a_single_byte():
    assert TokenRatio().at_most(PromptSize(1000, 0)) == 1000 + TEMPLATE_TOKENS


def test_a_reply_teaches_how_many_bytes_a_token_has():
    assert learned(4.0).at_most(PromptSize(32_000, 0)) == pytest.approx(10_000 + TEMPLATE_TOKENS)


def test_one_dense_page_counts_at_once_and_is_forgotten_slowly():
    dense = learned(4.0, 2.0).at_most(PromptSize(10_000, 0))
    assert dense == learned(2.0).at_most(PromptSize(10_000, 0))
    later = learned(4.0, 2.0, *[4.0] * 10).at_most(PromptSize(10_000, 0))
    assert learned(4.0).at_most(PromptSize(10_000, 0)) < later < dense


def test_another_model_begins_anew():
    ratio = learned(2.0)
    ratio.learn("other", PromptSize(40_000, 0), prompt_tokens=10_000)
    assert ratio.at_most(PromptSize(32_000, 0)) == learned(4.0).at_most(PromptSize(32_000, 0))


def test_a_count_of_more_tokens_than_bytes_teaches_nothing():
    ratio = learned(4.0)
    ratio.learn("m", PromptSize(1000, 0), prompt_tokens=1 << 30)
    assert ratio.likely(PromptSize(32_000, 0)) == learned(4.0).likely(PromptSize(32_000, 0))


def test_a_reply_without_a_count_teaches_nothing():
    ratio = TokenRatio()
    ratio.learn("m", PromptSize(10_000, 0), prompt_tokens=0)
    assert ratio.at_most(PromptSize(1000, 0)) == TokenRatio().at_most(PromptSize(1000, 0))


def test_a_token_is_never_taken_for_less_than_a_byte():
    assert learned(0.5).at_most(PromptSize(1000, 0)) == 1000 + TEMPLATE_TOKENS


def test_the_likely_count_is_rather_too_high():
    assert learned(4.0).likely(PromptSize(40_000, 0)) > 10_000


def test_what_english_teaches_says_nothing_about_other_scripts():
    ratio = learned(4.0)
    assert ratio.at_most(PromptSize(3_200, 30_000)) == pytest.approx(1_000 + 30_000 + TEMPLATE_TOKENS)


def test_a_page_in_another_script_teaches_nothing_about_english():
    ratio = learned(4.0)
    ratio.learn("m", PromptSize(1_000, 30_000), prompt_tokens=30_000)
    assert ratio.at_most(PromptSize(32_000, 0)) == learned(4.0).at_most(PromptSize(32_000, 0))


def test_bytes_of_a_prompt_are_those_of_its_texts():
    messages = [
        {"role": "user", "content": "né"},
        {"role": "user", "content": "\ud800"},
        {"role": "user", "content": "abc"},
    ]
    assert prompt_size(messages) == PromptSize(ascii=4, other=3)


@given(
    chars=st.integers(1, 10**6),
    page_share=st.floats(0.01, 0.99),
    tokens=st.integers(100, 10**6),
    limit=st.integers(1, 10**6),
)
def test_what_is_kept_fits_if_the_page_is_even(chars, page_share, tokens, limit):
    keep = keep_chars(chars, page_share=page_share, tokens=tokens, limit=limit)
    assert 0 <= keep <= chars
    frame = tokens * (1 - page_share)
    assert keep == 0 or frame + tokens * page_share * keep / chars <= max(limit, frame) + 1


def test_nothing_is_kept_where_the_frame_alone_does_not_fit():
    assert keep_chars(1000, page_share=0.5, tokens=1000, limit=400) == 0


def test_a_page_that_fits_is_not_cut():
    assert cut("page", keep=4).text == "page"
    assert cut("page", keep=9).dropped_chars == 0


def test_a_cut_keeps_the_beginning_and_a_little_of_the_end_in_whole_lines():
    lines = [f"line {n:04d}" for n in range(1000)]
    kept = cut("\n".join(lines), keep=2000)
    shown = kept.text.splitlines()
    marker = next(line for line in shown if "characters left out" in line)
    head, tail = shown[: shown.index(marker)], shown[shown.index(marker) + 1 :]
    assert head == lines[: len(head)]
    assert tail == lines[-len(tail) :]
    assert len(head) > 4 * len(tail) > 0
    assert marker == f"[… {kept.dropped_chars} characters left out …]"


@given(text=st.text(max_size=500), keep=st.integers(0, 600))
def test_a_cut_accounts_for_every_character(text, keep):
    kept = cut(text, keep=keep)
    assert kept.kept_chars + kept.dropped_chars == len(text)
    assert kept.kept_chars <= max(keep, 0) or kept.kept_chars == len(text)
