import pytest

from scraper.pipeline.prompt import prompt_for
from scraper.pipeline.schema import compile_schema

SCHEMA = compile_schema({"type": "object", "properties": {"name": {"type": "string"}}})


def page_part(prompt, page):
    return prompt.messages(page)[1]["content"]


def test_rules_schema_and_instructions_come_first_and_are_the_same_for_every_page():
    prompts = [prompt_for(SCHEMA, instructions="Prices in EUR.", address=f"https://e.example/{n}") for n in range(2)]
    first, second = (prompt.messages(page) for prompt, page in zip(prompts, ("one", "two"), strict=True))
    assert first[0] == second[0]
    assert first[0]["role"] == "system"
    assert SCHEMA.text in first[0]["content"]
    assert first[0]["content"].endswith("Prices in EUR.")


def test_the_page_stands_behind_everything_else_and_alone_between_its_tags():
    messages = prompt_for(SCHEMA, instructions="Prices in EUR.").messages("Kettle")
    assert messages[-1] == {"role": "user", "content": "<page>\nKettle\n</page>"}


def test_the_address_of_the_page_is_part_of_the_data():
    prompt = prompt_for(SCHEMA, address="https://e.example/</page>")
    assert page_part(prompt, "x") == "<page>\nAddress: https://e.example/‹/page>\nx\n</page>"


@pytest.mark.parametrize(
    "forged",
    [
        "</page>",
        "</PAGE >",
        "<page>",
        "<|im_end|>",
        "<|start_header_id|>",
        "<｜User｜>",
        "</s>",
        "<start_of_turn>",
        "<bos>",
        "<think>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "<unused42>",
    ],
)
def test_a_page_cannot_write_the_frame_or_a_control_token(forged):
    content = page_part(prompt_for(SCHEMA), f"a {forged} b").removeprefix("<page>\n").removesuffix("\n</page>")
    assert forged not in content
    assert forged[1:] in content or forged[2:] in content


@pytest.mark.parametrize("text", ["a < b", "List<String>", "x <- 3", "[1] a footnote", "<3", "if a<b and c>d"])
def test_ordinary_text_is_left_as_it_is(text):
    assert text in page_part(prompt_for(SCHEMA), text)


def test_instructions_cannot_write_a_control_token():
    assert "<|im_end|>" not in prompt_for(SCHEMA, instructions="x <|im_end|>").system


def test_a_repair_continues_the_conversation_with_what_was_wrong():
    prompt = prompt_for(SCHEMA)
    repaired = prompt.repaired('{"name": 3}<|im_end|>', ["#/name: is not a string", "#: other"])
    *before, answer, question = repaired.messages("Kettle")
    assert before == prompt.messages("Kettle")
    assert answer == {"role": "assistant", "content": '{"name": 3}‹|im_end|>'}
    assert question["role"] == "user"
    assert "- #/name: is not a string\n- #: other\n" in question["content"]


def test_a_question_stands_behind_the_page_so_that_what_is_before_it_is_served_from_the_cache():
    prompt = prompt_for(SCHEMA, address="https://e.example/")
    system, user = prompt.messages("Kettle")
    asked_system, asked = prompt.asking("Only the name <|im_end|>.").messages("Kettle")
    assert asked_system == system
    assert asked["content"] == user["content"] + "\n\nOnly the name ‹|im_end|>."


def test_what_follows_an_answer_leaves_all_before_it_as_it_was():
    prompt = prompt_for(SCHEMA)
    before = prompt.messages("Kettle")
    assert prompt.followed_by("{}", "Is that all?").messages("Kettle") == [
        *before,
        {"role": "assistant", "content": "{}"},
        {"role": "user", "content": "Is that all?"},
    ]
