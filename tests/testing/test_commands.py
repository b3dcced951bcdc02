"""The simulated servers as real processes: what they print, how they stop, what they refuse."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import httpx
import pytest

from scraper.testing.site import SimulatedSite
from scraper.testing.vllm import SimulatedVLLM

QUESTION = {"messages": [{"role": "user", "content": "Harbour Kettle. It boils water in two minutes."}]}


@contextlib.contextmanager
def process(module, *arguments):
    """(process, the address it printed)"""
    command = [sys.executable, "-W", "error", "-m", f"scraper.testing.{module}", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


def run(module, *arguments):
    command = [sys.executable, "-W", "error", "-m", f"scraper.testing.{module}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_model_server_prints_its_url_answers_and_stops_on_sigterm():
    with process("vllm", "--preset", "instant") as (child, url):
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/v1")
        answer = httpx.post(f"{url}/chat/completions", json=QUESTION, trust_env=False)
        assert answer.json()["model"] == "simulated-vllm/instant"
        child.send_signal(signal.SIGTERM)
        assert child.wait(300) == 0
        assert "Traceback" not in child.stderr.read()


def test_after_sigterm_a_request_in_flight_hangs_and_a_second_sigterm_ends_it():
    with process("vllm", "--time-scale", "0.001") as (child, url):
        outcome = []

        def ask():
            try:
                httpx.post(f"{url}/chat/completions", json=QUESTION, timeout=300, trust_env=False)
            except httpx.TransportError as error:
                outcome.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        root = url.removesuffix("/v1")
        while not httpx.get(f"{root}/load", trust_env=False).json()["server_load"]:
            pass
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(httpx.TransportError):
            while True:
                httpx.get(f"{root}/health", trust_env=False)
        assert child.poll() is None
        assert not outcome
        child.send_signal(signal.SIGTERM)
        assert child.wait(300) == 0
        asking.join(300)
        assert len(outcome) == 1


def test_with_a_shutdown_timeout_those_in_flight_finish_and_new_ones_get_a_500():
    with process("vllm", "--shutdown-timeout", "600") as (child, url):
        answers, root = [], url.removesuffix("/v1")
        httpx.post(f"{root}/_control", json={"do": "freeze"}, trust_env=False)
        asking = threading.Thread(
            target=lambda: answers.append(
                httpx.post(f"{url}/chat/completions", json=QUESTION, timeout=300, trust_env=False)
            )
        )
        asking.start()
        while not httpx.get(f"{root}/load", trust_env=False).json()["server_load"]:
            pass
        child.send_signal(signal.SIGTERM)
        while httpx.get(f"{root}/_stats", trust_env=False).json()["state"] != "draining":
            pass
        refused = httpx.post(f"{url}/chat/completions", json=QUESTION, trust_env=False)
        assert httpx.get(f"{root}/health", trust_env=False).status_code == 200
        httpx.post(f"{root}/_control", json={"do": "thaw"}, trust_env=False)
        asking.join(300)
        assert child.wait(300) == 0
    assert refused.status_code == 500
    assert answers[0].status_code == 200


def test_a_dead_engine_ends_the_process_with_1():
    with process("vllm", "--preset", "instant", "--time-scale", "50") as (child, url):
        root = url.removesuffix("/v1")
        httpx.post(f"{root}/_control", json={"do": "kill_engine"}, trust_env=False)
        assert child.wait(300) == 1


def test_faults_and_limits_of_the_command_line_reach_the_server():
    arguments = (
        "--preset",
        "instant",
        "--fault",
        "503=1x",
        "--fault",
        "429=1x:9",
        "--max-model-len",
        "64",
        "--api-key",
        "k",
    )
    with (
        process("vllm", *arguments) as (_, url),
        httpx.Client(headers={"authorization": "Bearer k"}, trust_env=False) as client,
    ):
        answers = [client.post(f"{url}/chat/completions", json=QUESTION) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [503, 429, 200]
        assert answers[1].headers["retry-after"] == "9"
        assert client.get(f"{url}/models").json()["data"][0]["max_model_len"] == 64
        assert httpx.get(f"{url}/models", trust_env=False).status_code == 401


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fault", "999=1x"), "unknown fault"),
        (("--fault", "503=2"), "between 0 and 1"),
        (("--preset", "h900"), "h900"),
        (("--time-scale", "0"), "time-scale"),
        (("--max-model-len", "1000000"), "needs more cache"),
        (("--without", "nothing"), "no such path"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_thing(arguments, words):
    ended = run("vllm", *arguments, "--port", "0")
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("module", ["vllm", "site"])
def test_help_shows_examples(module):
    ended = run(module, "--help")
    assert ended.returncode == 0
    assert f"python -m scraper.testing.{module} " in ended.stdout


@pytest.mark.parametrize(("module", "server"), [("vllm", SimulatedVLLM), ("site", SimulatedSite)])
async def test_a_taken_port_is_said_plainly(module, server):
    async with server() as running:
        ended = run(module, "--port", str(running.http.port))
    assert ended.returncode == 1
    assert "--port 0" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_site_prints_its_url_serves_and_stops_on_sigint():
    with process("site") as (child, url):
        assert "Simulated site" in httpx.get(url, trust_env=False).text
        assert httpx.get(f"{url}product/7", trust_env=False).status_code == 200
        child.send_signal(signal.SIGINT)
        assert child.wait(300) == 0
        assert "Traceback" not in child.stderr.read()


def test_the_site_can_list_addresses_without_serving():
    ended = run("site", "--urls", "product", "3", "--port", "8081")
    assert ended.stdout.split() == [f"http://127.0.0.1:8081/product/{n}" for n in (1, 2, 3)]


def test_importing_the_servers_needs_nothing_of_the_product():
    code = (
        "import sys, scraper.testing.vllm, scraper.testing.site\n"
        "print(*sorted(n for n in sys.modules if n.startswith('scraper') and not n.startswith('scraper.testing')))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert ended.stdout.split() == ["scraper"]
