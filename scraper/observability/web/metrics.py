"""The picture as Prometheus metrics. Every name, its help, its unit and its few labels stand here.

Counters are of the workers of this supervisor, since it began; the throttle's are of all processes of this host,
since its coordinator began. deploy/grafana is built on these names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from scraper import __version__
from scraper.observability.health import missing
from scraper.observability.histogram import PER_DECADE, Histogram
from scraper.observability.tally import Tally
from scraper.observability.view import View
from scraper.throttle.starts import GAP_EDGES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DEPENDENCIES = ("workers", "broker", "store", "model_server", "throttle", "consumers")
STATES = ("closed", "half_open", "open")
_EDGES = range(-2 * PER_DECADE, 3 * PER_DECADE + 1, PER_DECADE // 4)  # 10 ms to 1000 s, four a decade


def exposition(total: Tally, view: View, *, hosting: bool, oldest_s: float | None) -> bytes:
    """What /metrics answers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Of(lambda: families(total, view, hosting=hosting, oldest_s=oldest_s)))
    return generate_latest(registry)


class _Of(Collector):
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


def families(total: Tally, view: View, *, hosting: bool, oldest_s: float | None) -> Iterator[Metric]:
    """Every metric there is. `hosting`: whether this process hosts the throttle of this host."""
    yield _gauge("scraper_info", "The version that runs; always 1.", _by_one({__version__: 1}), labels=("version",))
    yield from _tasks(total, view, oldest_s)
    yield from _model(total)
    yield from _throttle(view, hosting=hosting)


def _tasks(total: Tally, view: View, oldest_s: float | None) -> Iterator[Metric]:
    settled: dict[tuple[str, ...], float] = {
        (outcome, ""): count for outcome, count in total.outcomes.items() if outcome != "park"
    }
    settled |= {("park", reason): count for reason, count in total.reasons.items()}
    yield _counter(
        "scraper_tasks",
        "Deliveries settled, by outcome (done, park, retry, hold, lost, handed_back) and, for park, its reason.",
        settled,
        labels=("outcome", "reason"),
    )
    yield _counter(
        "scraper_task_seconds",
        "Seconds of settled deliveries, by what they went to; the phases add up to the whole.",
        _by_one(total.seconds),
        labels=("phase",),
    )
    yield _counter("scraper_task_faults", "Tasks that met a bug; each got another attempt.", total.counts["faults"])
    yield _counter("scraper_worker_restarts", "Workers that ended unasked.", total.counts["restarts"])
    yield _gauge("scraper_workers", "Worker processes that report.", view.workers)
    yield _gauge("scraper_tasks_in_hand", "Tasks received and not settled yet.", view.in_hand)
    if view.queue is not None:
        queue = _by_one({"ready": view.queue.ready, "waiting": view.queue.waiting, "in_hand": view.queue.in_hand})
        yield _gauge("scraper_queue_tasks", "Tasks that are left, by where they are.", queue, labels=("state",))
    if oldest_s is not None:
        yield _gauge(
            "scraper_queue_oldest_age_seconds",
            "Age of the oldest task that scraper submit put into the queue and that has no result yet.",
            oldest_s,
        )
    yield _gauge(
        "scraper_queue_stalled_seconds",
        "Seconds that tasks have been ready beside idle consumers without any being received.",
        view.stalled_s,
    )
    absent = missing(view)
    yield _gauge(
        "scraper_dependency_up",
        "1 if the workers have what they need of it, 0 if it is missing (as /ready says).",
        _by_one({name: int(name not in absent) for name in DEPENDENCIES}),
        labels=("dependency",),
    )


def _model(total: Tally) -> Iterator[Metric]:
    yield _counter("scraper_llm_attempts", "Requests sent to the model server.", total.counts["attempts"])
    yield _counter("scraper_llm_answers", "Requests that were answered.", total.counts["answers"])
    yield _counter("scraper_llm_retries", "Failed requests that were tried again.", total.counts["retries"])
    yield _counter("scraper_llm_failed_calls", "Calls given up after their last attempt.", total.counts["failed_calls"])
    tokens = _by_one({kind: total.counts[f"{kind}_tokens"] for kind in ("prompt", "completion", "cached")})
    yield _counter("scraper_llm_tokens", "Tokens as the model server counted them.", tokens, labels=("kind",))
    yield _histogram("scraper_llm_request_seconds", "Seconds of an answered request, body included.", total.latency)
    yield _histogram("scraper_llm_first_token_seconds", "Seconds to the first token of an answer.", total.first_token)


def _throttle(view: View, *, hosting: bool) -> Iterator[Metric]:
    throttle = view.throttle
    yield _gauge("scraper_in_flight", "Requests in flight, of all processes of this host.", throttle.in_flight)
    yield _gauge("scraper_in_flight_limit", "How many may be (VLLM_MAX_CONCURRENT).", throttle.limit or 0)
    yield _gauge("scraper_starts_last_minute", "Requests started in the last 60 s.", throttle.starts_last_minute)
    yield _gauge(
        "scraper_starts_per_minute_limit",
        "How many may be (VLLM_REQUESTS_PER_MINUTE).",
        throttle.requests_per_minute or 0,
    )
    yield _gauge("scraper_turn_waiters", "Calls in line for a turn at the model server.", throttle.waiting)
    yield _counter(
        "scraper_turn_waits",
        "Waits for a turn that were told, by what held the line back at first.",
        _by_one(view.waits),
        labels=("reason",),
    )
    yield _gaps(throttle.gaps)
    if throttle.smallest_gap_s is not None:
        yield _gauge("scraper_start_gap_smallest_seconds", "Shortest time between two starts.", throttle.smallest_gap_s)
    circuit = _by_one({state: int(throttle.circuit == state) for state in STATES})
    yield _gauge("scraper_circuit_state", "1 for the state the circuit is in.", circuit, labels=("state",))
    yield _gauge("scraper_circuit_generation", "Rises with every change of the circuit.", throttle.generation)
    yield _counter("scraper_circuit_probes", "Requests that tried whether the server is well again.", throttle.probes)
    yield _gauge(
        "scraper_paused_seconds", "Seconds that the endpoint is paused for; 0 if it is not.", throttle.paused_for_s
    )
    yield _gauge("scraper_coordinator", "1 if this process hosts the throttle of this host, else 0.", int(hosting))


def _gaps(gaps: Iterable[int]) -> Metric:
    """The bars of the panel, added up."""
    seen, buckets = 0, []
    for edge, count in zip([*map(str, GAP_EDGES), "+Inf"], [*gaps] or [0] * (len(GAP_EDGES) + 1), strict=True):
        seen += count
        buckets.append((edge, float(seen)))
    return HistogramMetricFamily(
        "scraper_start_gap_intervals",
        "Time between two starts, in intervals of the pace (60 s / VLLM_REQUESTS_PER_MINUTE).",
        buckets=buckets,
        sum_value=None,
    )


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets = [(str(float(f"{10 ** (edge / PER_DECADE):.4g}")), float(histogram.at_most(edge))) for edge in _EDGES]
    return HistogramMetricFamily(
        name, text, buckets=[*buckets, ("+Inf", float(histogram.count))], sum_value=histogram.total_seconds
    )


Values = float | Mapping[tuple[str, ...], float]


def _counter(name: str, text: str, values: Values, *, labels: tuple[str, ...] = ()) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=labels), values)


def _gauge(name: str, text: str, values: Values, *, labels: tuple[str, ...] = ()) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, values: Values) -> Metric:
    for labels, value in values.items() if isinstance(values, Mapping) else [((), values)]:
        family.add_metric(list(labels), float(value))
    return family


def _by_one(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(name,): value for name, value in values.items()}
