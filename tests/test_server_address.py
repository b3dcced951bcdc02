"""What may be written as the address of a model server, told at once to whoever makes a client or a throttle."""

import pytest

from scraper.errors import Misconfigured
from scraper.llm_client import LLMClient
from scraper.server_address import server_address
from scraper.throttle.run_dir import MeetingPlace

WRONG = [
    "",
    "localhost:8000",
    "ftp://h/v1",
    "http:///v1",
    "http://:8000/v1",
    "https:/h:8000/v1",
    "http://h:99999/v1",
    "http://h:0/v1",
    "http://h:80a/v1",
    "http://h:\u0668/v1",
    "http://[::1/v1",
    "http://h h:8000/v1",
    "http://h:8000/v1 and more",
    "http://h:8000/v1\n#",
    "http://h:8000/v1\x00",
    "http://\u200bh:8000/v1",
    "http://h:8000/v1?key=hunter2",
    "http://h:8000/v1#a",
    "http://a..b/v1",
    f"http://{'a' * 64}/v1",
    "http://*:8000/v1",
    "http://.:8000/v1",
    "http://h%20h/v1",
    "http://h\\\\h/v1",
    "'http://h:8000/v1'",
    "http://me:hunter2@/v1",
    "http://me:hunter2/3@h:8000/v1",
    "http://me:hunter2\u2100@h:8000/v1",
]


@pytest.mark.parametrize("url", WRONG)
@pytest.mark.parametrize("made", [LLMClient, MeetingPlace.of])
def test_what_no_request_could_go_to_is_refused_without_quoting_it(made, url, tmp_path):
    with pytest.raises(Misconfigured, match="VLLM_BASE_URL") as refused:
        made(url, run_dir=tmp_path)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "HTTPS://GPU.example/v1",
        "http://gpu_1:8000",
        "http://127.1:8000/v1",
        "http://[::1]:8000/v1",
        "http://[fe80::1%eth0]:8000/v1",
        "http://b\u00fccher.example/v1",
        "http://me:p%40ss@h:8000/v1",
    ],
)
def test_every_other_address_is_taken_as_it_is(url, tmp_path):
    assert server_address(url) == url
    LLMClient(url, run_dir=tmp_path)


def test_what_stands_around_it_is_no_part_of_it():
    assert server_address(" http://h:8000/v1/\n") == "http://h:8000/v1"
