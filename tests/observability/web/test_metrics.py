import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from scraper.events import CircuitOpened
from scraper.observability.view import Queue
from scraper.observability.web.metrics import exposition
from scraper.throttle.shared_admission import SharedAdmission
from tests.observability.facts import STARTED, answer, received, request, settled
from tests.observability.test_picture import NOW, Picture, heard

DEPLOY = Path(__file__).parent.parent.parent.parent / "deploy" / "grafana"


def busy():
    picture = heard(STARTED, received(), request(), answer(3.0), settled("park", "robots", wait_rate=7.0, fetch=3.0))
    heard(
        received("u"), request(), answer(0.5), settled(task_id="u", fetch=1.0), picture=picture, at=NOW + 3, task_id="u"
    )
    heard(CircuitOpened(1, 5, 60.0), picture=picture, at=NOW + 4)
    picture.queue_says(Queue(5, 2, 1), at=NOW + 4)
    return picture


def families(picture, **options):
    text = exposition(picture.total(), picture.view(NOW + 5), **{"hosting": True, "oldest_s": 60.0, **options}).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(found, name, **labels):
    [sample] = [
        each for family in found.values() for each in family.samples if each.name == name and each.labels == labels
    ]
    return sample.value


def test_what_happened_is_counted():
    found = families(busy())
    assert value(found, "scraper_tasks_total", outcome="park", reason="robots") == 1
    assert value(found, "scraper_tasks_total", outcome="done", reason="") == 1
    assert value(found, "scraper_task_seconds_total", phase="fetch") == 4.0
    assert value(found, "scraper_llm_attempts_total") == 2
    assert value(found, "scraper_llm_tokens_total", kind="completion") == 120
    assert value(found, "scraper_circuit_state", state="open") == 1
    assert value(found, "scraper_circuit_state", state="closed") == 0
    assert value(found, "scraper_queue_tasks", state="ready") == 5
    assert value(found, "scraper_queue_oldest_age_seconds") == 60
    assert value(found, "scraper_dependency_up", dependency="model_server") == 0
    assert value(found, "scraper_coordinator") == 1


def test_histograms_add_up_and_their_bounds_are_exact():
    found = families(busy())
    assert value(found, "scraper_llm_request_seconds_count") == 2
    assert value(found, "scraper_llm_request_seconds_sum") == 3.5
    assert value(found, "scraper_llm_request_seconds_bucket", le="1.0") == 1
    assert value(found, "scraper_llm_request_seconds_bucket", le="10.0") == 2
    assert value(found, "scraper_llm_request_seconds_bucket", le="+Inf") == 2
    assert value(found, "scraper_start_gap_intervals_bucket", le="0.95") == 0
    assert value(found, "scraper_start_gap_intervals_bucket", le="1.05") == 1


@pytest.mark.parametrize("picture", [Picture(), busy()], ids=["idle", "busy"])
def test_every_metric_says_what_it_is_in_a_base_unit(picture):
    for family in families(picture).values():
        assert family.documentation.endswith((".", ")."))
        assert family.name.startswith("scraper_")
        assert not re.search(r"_(ms|milliseconds|minutes|kb)$", family.name)


def test_labels_have_few_values():
    found = families(busy())
    labels = {name for family in found.values() for sample in family.samples for name in sample.labels}
    assert labels <= {"version", "outcome", "reason", "phase", "state", "dependency", "kind", "le"}
    assert sum(len(family.samples) for family in found.values()) < 250


def test_the_coordinators_word_counts_where_there_is_one():
    picture = busy()
    picture.throttle_says(SharedAdmission().status(0), at=NOW + 5)
    found = families(picture, hosting=False, oldest_s=None)
    assert value(found, "scraper_circuit_state", state="closed") == 1
    assert value(found, "scraper_coordinator") == 0
    assert "scraper_queue_oldest_age_seconds" not in found


# --- what is built on these names --------------------------------------------------------------------------------------

WORDS = {
    "sum",
    "rate",
    "by",
    "le",
    "without",
    "increase",
    "histogram_quantile",
    "max",
    "min",
    "avg",
    "clamp_min",
    "on",
    "ignoring",
    "and",
    "or",
    "unless",
    "bool",
    "vector",
    "max_over_time",
    "absent",
    "offset",
    "topk",
    "group_left",
    "inf",
}


def names_in(expression):
    """Metric names in a PromQL expression: words that are neither functions, labels nor strings."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring)\s*\([^)]*\)', " ", expression)
    return {word for word in re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare) if word not in WORDS}


def labels_in(expression):
    return set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)) | {
        label.strip()
        for group in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
        for label in group.split(",")
        if label.strip()
    }


def dashboard_expressions():
    board = json.loads((DEPLOY / "dashboard.json").read_text())
    found = [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(found) > 15
    return found


def rule_expressions():
    text = (DEPLOY / "alerts.yml").read_text()
    found = re.findall(r"- alert: (\w+)\n\s+expr: (.+)", text)
    assert len(found) >= 8
    assert text.count("- alert:") == len(found)
    return found


@pytest.mark.parametrize(("where", "expression"), dashboard_expressions() + rule_expressions())
def test_dashboard_and_alerts_ask_for_metrics_and_labels_that_exist(where, expression):
    samples = [sample for family in families(busy()).values() for sample in family.samples]
    assert names_in(expression), where
    assert names_in(expression) <= {sample.name for sample in samples}
    known = {"job", "instance"} | {
        label for sample in samples if sample.name in names_in(expression) for label in sample.labels
    }
    assert labels_in(expression) <= known
    for label, wanted in re.findall(r'(\w+)="([^"]*)"', expression):
        if label not in {"job", "instance"}:
            assert wanted in {sample.labels.get(label) for sample in samples} | {
                "retry",
                "hold",
                "lost",
                "wait_rate",
                "wait_slot",
            }


def test_the_names_are_found_by_the_test_itself():
    expression = 'sum by (reason) (rate(scraper_tasks_total{outcome="park"}[5m])) > 2 and on () scraper_workers == 0'
    assert names_in(expression) == {"scraper_tasks_total", "scraper_workers"}
    assert labels_in(expression) == {"reason", "outcome"}


def test_every_alert_says_what_it_means_and_what_to_do():
    text = (DEPLOY / "alerts.yml").read_text()
    _, *alerts = text.split("- alert:")
    assert alerts
    for part in alerts:
        assert {"expr:", "for:", "severity:", "summary:", "description:"} <= set(re.findall(r"\b\w+:", part))
