import os
from pathlib import Path

import pytest

from scraper.config import (
    CHANGE_AT_RUN_TIME,
    NO_ENV_FILE,
    Settings,
    as_environment,
    default_run_dir,
    load_settings,
    sqlite_path,
    surprises,
    taken_over,
)
from scraper.credentials import without_credentials
from scraper.errors import Misconfigured

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def load(**environment):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return load_settings(Path("no such file"))


def refusal(**environment):
    with pytest.raises(Misconfigured) as refused:
        load(**environment)
    return str(refused.value)


def test_nothing_set_gives_the_owners_defaults():
    settings = load()
    assert (settings.vllm_max_concurrent, settings.vllm_requests_per_minute, settings.vllm_max_retries) == (2, 20, 5)
    assert (settings.vllm_base_backoff, settings.vllm_max_backoff) == (1, 60)
    assert (settings.vllm_circuit_breaker_threshold, settings.vllm_circuit_breaker_timeout) == (5, 60)
    assert (settings.concurrent_consumers_per_worker, settings.prefetch_count) == (3, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VLLM_MAX_CONCURRENT", "0"),
        ("VLLM_MAX_CONCURRENT", "1025"),
        ("VLLM_REQUESTS_PER_MINUTE", "0.5"),
        ("VLLM_REQUESTS_PER_MINUTE", "60001"),
        ("VLLM_BASE_BACKOFF", "0"),
        ("VLLM_TIMEOUT", "0"),
        ("VLLM_CIRCUIT_BREAKER_THRESHOLD", str(1 << 63)),
        ("VLLM_CIRCUIT_BREAKER_TIMEOUT", "1e19"),
        ("VLLM_TIMEOUT", "inf"),
        ("VLLM_TIMEOUT", "soon"),
        ("BROKER_URL", "redis://localhost"),
        ("BROKER_URL", "sqlite:///a.db,amqp://localhost"),
        ("RESULTS_URL", "sqlite://"),
        ("RESULTS_URL", "sqlite:///a?b.db"),
        ("VLLM_BASE_URL", "localhost:8000"),
        ("VLLM_BASE_URL", "http://localhost:99999/v1"),
        ("VLLM_BASE_URL", "http://localhost:8000/v1?model=m"),
        ("VLLM_BASE_URL", "http://local\u200bhost:8000/v1"),
        ("VLLM_TIMEOUT", "1e300"),
        ("VLLM_MAX_TOKENS", "9" * 100),
        ("VLLM_CONTEXT_TOKENS", "9" * 100),
        ("VLLM_MODEL", "invisible\u200bspace"),
        ("FETCH_MAX_BYTES", "5"),
        ("FETCH_MAX_BYTES", "5,5MB"),
        ("FETCH_MAX_BYTES", "5MB and more"),
        ("FETCH_MAX_BYTES", "٥MB"),
        ("FETCH_MAX_BYTES", "1e6"),
        ("TASK_MAX_BYTES", "1 EB"),
        ("RUN_DIR", "~/run"),
        ("SCHEMAS_DIR", "~"),
        ("BROKER_URL", "sqlite:///~/scraper.db"),
        ("HTTP_HOST", "x\u200b"),
        ("ROBOTS", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("QUEUE_NAMESPACE", "two words"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(name, value):
    assert refusal(**{name: value}).startswith(f"{name}={value}: ")


@pytest.mark.parametrize(("name", "value"), [("USER_AGENT", " "), ("RUN_DIR", " "), ("SCHEMAS_DIR", "x" * 300)])
def test_blanks_alone_and_endless_names_are_refused(name, value):
    assert refusal(**{name: value}).startswith(f"{name}=")


def test_a_wrong_value_is_shown_in_one_line_that_steers_no_terminal():
    (line,) = refusal(USER_AGENT="name\r\nX-Injected: \x1b[31myes").splitlines()
    assert line.startswith(r"USER_AGENT=name\x0d X-Injected: \x1b[31myes: ")


@pytest.mark.parametrize(
    ("name", "value"), [("VLLM_MODEL", "m\r"), ("HTTP_HOST", " ::1"), ("VLLM_BASE_URL", "http://h \r")]
)
def test_a_blank_or_a_line_end_of_another_system_behind_a_value_is_no_part_of_it(name, value):
    assert getattr(load(**{name: value}), name.lower()) == value.strip()


def test_what_a_broker_url_must_be_is_said_once():
    refused = refusal(BROKER_URL="redis://localhost")
    assert (refused.count("sqlite:///"), refused.count("amqp://…")) == (1, 1)


def test_every_mistake_is_named_at_once():
    lines = refusal(VLLM_MAX_CONCURRENT="0", WORKERS="none", VLLM_MAX_CONCURENT="4").splitlines()
    assert [line.split("=")[0].split(":")[0] for line in lines] == [
        "VLLM_MAX_CONCURRENT",
        "WORKERS",
        "VLLM_MAX_CONCURENT",
    ]


def test_a_name_that_is_nearly_a_settings_is_refused_with_the_right_one():
    assert "did you mean VLLM_MAX_CONCURRENT?" in refusal(VLLM_MAX_CONCURENT="4")


@pytest.mark.parametrize("name", ["VLLM_CACHE_ROOT", "VLLM_RPC_TIMEOUT", "VLLM_PORT", "PATH", "WORKER", "HOSTNAME"])
def test_names_of_other_programs_are_ignored(name):
    assert load(**{name: "1"}) == load()


def test_an_unknown_key_in_the_env_file_is_refused(tmp_path):
    env = tmp_path / ".env"
    env.write_text("VLLM_MAX_CONCURRENCY=3\n")
    with pytest.raises(Misconfigured, match=r"VLLM_MAX_CONCURRENCY in .*\.env: there is no such setting"):
        load_settings(env)


def test_an_env_file_that_is_none_is_not_passed_over(tmp_path):
    folder, pipe, link = (tmp_path / name for name in ("folder", "pipe", "link"))
    folder.mkdir()
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "nowhere")
    for path, what in ((folder, "a folder; "), (pipe, "a pipe, "), (link, "a link that leads nowhere; ")):
        with pytest.raises(Misconfigured, match=what):
            load_settings(path)
    load_settings(NO_ENV_FILE)
    load_settings(tmp_path / "not there")


def test_an_env_file_that_is_no_text_is_refused_by_its_name(tmp_path):
    file = tmp_path / ".env"
    file.write_bytes("VLLM_MODEL=x".encode("utf-16"))
    with pytest.raises(Misconfigured, match=r"\.env: not UTF-8 \(byte 1\)"):
        load_settings(file)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("VLLM_REQUESTS_PER_MINUTE 60", "no `=`"),
        ("VLLM_REQUESTS_PER_MINUTE", "no `=`"),
        ('VLLM_API_KEY="sesame', "is a quotation mark not closed?"),
    ],
)
def test_a_line_of_the_env_file_that_would_be_passed_over_is_refused_by_its_number(tmp_path, line, why):
    file = tmp_path / ".env"
    file.write_text(f"# limits\n\nWORKERS=2\n\n\n{line}\nCACHE=true\n")
    with pytest.raises(Misconfigured) as refused:
        load_settings(file)
    assert str(refused.value).startswith(f"{file} line 6: {why}")
    assert "sesame" not in str(refused.value)


def test_a_setting_with_two_values_in_the_env_file_is_refused_with_both_lines(tmp_path):
    file = tmp_path / ".env"
    file.write_text("VLLM_API_KEY=sesame\n# the other preset\nWORKERS=2\n\nexport workers=3\nVLLM_API_KEY='open'\n")
    with pytest.raises(Misconfigured) as refused:
        load_settings(file)
    assert str(refused.value).splitlines() == [
        f"{file} line 5: WORKERS is set otherwise in line 3; keep one of them",
        f"{file} line 6: VLLM_API_KEY is set otherwise in line 1; keep one of them",
    ]


def test_a_setting_that_is_said_twice_is_none_the_worse_for_it(tmp_path):
    file = tmp_path / ".env"
    file.write_text("WORKERS=2\nWORKERS='2'\n")
    assert load_settings(file).workers == 2


def test_an_env_file_that_is_a_folder_is_refused(tmp_path):
    with pytest.raises(Misconfigured, match="a folder"):
        load_settings(tmp_path)


def test_a_wrong_value_of_any_length_is_refused_in_a_few_words():
    assert len(refusal(WORKERS="9" * 70_000)) < 500


def test_the_environment_wins_over_the_env_file(tmp_path, monkeypatch):
    env = tmp_path / ".env"
    env.write_text("VLLM_MAX_CONCURRENT=3\nWORKERS=2\n")
    monkeypatch.setenv("VLLM_MAX_CONCURRENT", "4")
    settings = load_settings(env)
    assert (settings.vllm_max_concurrent, settings.workers) == (4, 2)


def test_a_hold_and_a_deadline_that_outlast_the_brokers_patience_are_refused():
    assert "CONSUMER_TIMEOUT" in refusal(HOLD_LIMIT="1200")


def test_a_results_queue_that_nobody_could_read_is_refused_with_what_to_do():
    refused = refusal(RESULTS_QUEUE="on")
    assert "RabbitMQ" in refused
    assert "scraper export" in refused
    assert load(RESULTS_QUEUE="on", BROKER_URL="amqp://localhost").results_queue


def test_a_first_backoff_over_the_cap_is_refused():
    assert "VLLM_MAX_BACKOFF" in refusal(VLLM_BASE_BACKOFF="61")


def test_secrets_are_shown_neither_in_settings_nor_in_refusals():
    settings = load(VLLM_API_KEY="sk-secret", DASHBOARD_TOKEN="tok-secret")
    assert "secret" not in repr(settings)
    assert "hunter2" not in refusal(BROKER_URL="amq://me:hunter2@localhost")


def test_several_brokers_are_a_rotation():
    assert load(BROKER_URL="amqp://a, amqps://b").broker_urls == ("amqp://a", "amqps://b")


@pytest.mark.parametrize(
    ("url", "path"), [("sqlite:///data/scraper.db", "data/scraper.db"), ("sqlite:////var/x.db", "/var/x.db")]
)
def test_three_slashes_are_relative_and_four_absolute(url, path):
    assert sqlite_path(url) == Path(path)


def test_credentials_are_masked_wherever_a_url_is_shown():
    assert without_credentials("amqp://me:pw@h/v,amqps://x@y") == "amqp://***@h/v,amqps://***@y"


def test_no_character_of_a_password_ends_its_masking():
    assert without_credentials("amqp://me:p@w/x@h/v,amqp://a:b@c") == "amqp://***@h/v,amqp://***@c"
    assert "cr@et" not in refusal(BROKER_URL="ampq://me:se/cr@et@host/")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BROKER_URL", "user:hunter2@rabbit:5672"),
        ("BROKER_URL", "amqps//user:hunter2@rabbit:5672"),
        ("BROKER_URL", "amq://user:hunter2@a,amq://user:hunter2@rabbit:5672"),
        ("BROKER_URL", "amqp://user:hunter2\u2100@rabbit:5672"),
        ("RESULTS_URL", "postgres:user:hunter2@rabbit:5672"),
        ("VLLM_BASE_URL", "bob:hunter2@rabbit:5672"),
        ("VLLM_BASE_URL", "http://bob:hunter2/3@rabbit:5672"),
    ],
)
def test_no_mistake_in_an_address_shows_its_password(name, value):
    refused = refusal(**{name: value})
    assert "hunter2" not in refused
    assert refused.startswith(f"{name}=…@rabbit:5672: ")


def test_consumers_that_cannot_all_get_their_turn_are_pointed_out():
    crowded = Settings(workers=100, vllm_requests_per_minute=10)
    assert [name for name, _ in surprises(crowded)] == ["HOLD_LIMIT"]
    assert list(surprises(Settings())) == []


def test_slots_that_no_consumer_can_fill_are_pointed_out():
    assert [name for name, _ in surprises(Settings(vllm_max_concurrent=8))] == ["VLLM_MAX_CONCURRENT"]


def test_the_meeting_place_does_not_depend_on_how_a_process_was_started(monkeypatch):
    before = default_run_dir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/elsewhere")
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert default_run_dir() == before


def test_the_meeting_place_is_the_same_with_and_without_a_login_session(monkeypatch):
    monkeypatch.setattr(Path, "is_dir", lambda _: True)  # as if /run/user/UID were there
    logged_in = default_run_dir()
    monkeypatch.setattr(Path, "is_dir", lambda _: False)
    assert default_run_dir() == logged_in


def _example_lines():
    for line in (ROOT / ".env.example").read_text().splitlines():
        name, equals, value = line.removeprefix("# ").partition("=")
        if equals and name.isupper() and " " not in name:
            yield name, value


def test_the_example_lists_every_setting_and_no_other():
    assert {name for name, _ in _example_lines()} == {name.upper() for name in Settings.model_fields}


def test_the_examples_values_are_the_defaults_after_the_presets():
    last = {}
    for name, value in _example_lines():
        last.setdefault(name, []).append(value)
    machine_dependent = {"RUN_DIR", "USER_AGENT"}
    for name, values in last.items():
        if name in machine_dependent:
            continue
        written = values[-1] if name != "BROKER_URL" else values[0]
        assert getattr(load(**{name: written}), name.lower()) == getattr(Settings(), name.lower()), name


@pytest.mark.parametrize(
    ("preset", "limits"), [("conservative", (1, 10)), ("balanced", (2, 20)), ("aggressive", (4, 40))]
)
def test_each_preset_is_ready_to_uncomment(tmp_path, preset, limits):
    text = (ROOT / ".env.example").read_text()
    block = text[text.index(f"# {preset}") :].split("\n\n")[0].splitlines()[1:]
    env = tmp_path / ".env"
    env.write_text("\n".join(line.removeprefix("# ") for line in block))
    settings = load_settings(env)
    assert (settings.vllm_max_concurrent, settings.vllm_requests_per_minute) == limits
    assert list(surprises(settings)) == []


SET = {
    "VLLM_MAX_CONCURRENT": "4",
    "VLLM_REQUESTS_PER_MINUTE": "40.5",
    "VLLM_API_KEY": 'se=cr"et $HOME #1',
    "TASK_MAX_BYTES": "1.5MiB",
    "ROBOTS": "off",
    "SCHEMAS_DIR": "my schemas",
    "BROKER_URL": "amqp://a:b@c/d,amqp://e",
}


def test_another_process_has_the_same_settings_from_the_environment_alone():
    settings = load(**SET)
    given = as_environment(settings)
    assert set(given) == set(SET)
    assert load(**given) == settings


def test_what_may_change_at_run_time_is_taken_over_and_the_rest_named():
    running, read = load(**SET), load(**SET | {"VLLM_MAX_CONCURRENT": "1", "WORKERS": "3", "ROBOTS": "on"})
    settings, changed, for_a_restart = taken_over(running, read)
    assert (changed, sorted(for_a_restart)) == (["vllm_max_concurrent"], ["robots", "workers"])
    assert (settings.vllm_max_concurrent, settings.workers, settings.robots) == (1, 1, False)
    assert as_environment(settings)["VLLM_MAX_CONCURRENT"] == "1"


def test_back_to_a_default_is_a_change_as_well():
    settings, changed, _ = taken_over(load(VLLM_MAX_CONCURRENT="4"), load())
    assert (changed, settings.vllm_max_concurrent) == (["vllm_max_concurrent"], 2)
    assert as_environment(settings, changed) == {"VLLM_MAX_CONCURRENT": "2"}


@pytest.mark.parametrize("values", [("1", "1", "1", "0.001"), ("1024", "60000", "1000000", "1000000")])
def test_nothing_that_changes_at_run_time_contradicts_another_setting(values):
    """It is taken over without being checked against the others once more."""
    assert load(**dict(zip((name.upper() for name in CHANGE_AT_RUN_TIME), values, strict=True)))
