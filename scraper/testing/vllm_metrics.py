"""`/metrics` in vLLM's own names, labels and types, rendered from the engine's state."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client import generate_latest
from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from scraper.testing.vllm_engine import Engine, Job

_LATENCY = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_HISTOGRAMS = {
    "vllm:time_to_first_token_seconds": ("Histogram of time to first token in seconds.", _FIRST),
    "vllm:inter_token_latency_seconds": ("Histogram of inter token latency in seconds.", _TOKEN),
    "vllm:e2e_request_latency_seconds": ("Histogram of e2e request latency in seconds.", _LATENCY),
    "vllm:request_queue_time_seconds": ("Histogram of time spent in WAITING phase for request.", _LATENCY),
    "vllm:request_prefill_time_seconds": ("Histogram of time spent in PREFILL phase for request.", _LATENCY),
    "vllm:request_decode_time_seconds": ("Histogram of time spent in DECODE phase for request.", _LATENCY),
    "vllm:request_inference_time_seconds": ("Histogram of time spent in RUNNING phase for request.", _LATENCY),
}
_FINISHED = ("stop", "length", "abort", "error")


class Histogram:
    """Counts per bucket; cumulative only when rendered."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def buckets(self) -> list[tuple[str, float]]:
        total, rows = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            rows.append((bound, float(total)))
        return rows


class Metrics:
    """What has to be remembered between scrapes, and the rendering."""

    def __init__(self, *, model: str, created: float) -> None:
        self.model = model
        self.created = created  # wall clock of the start, for the `_created` series
        self.finished: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.histograms = {name: Histogram(bounds) for name, (_, bounds) in _HISTOGRAMS.items()}

    def job_finished(self, job: Job, reason: str) -> None:
        """Record a job that ran to its end; aborted ones are not counted, as on the real server."""
        if job.admitted_at is None or job.first_token_at is None or job.finished_at is None:
            return
        self.finished[reason] += 1
        decode = job.finished_at - job.first_token_at
        spans = {
            "time_to_first_token": job.first_token_at - job.arrived_at,
            "e2e_request_latency": job.finished_at - job.arrived_at,
            "request_queue_time": job.admitted_at - job.arrived_at,
            "request_prefill_time": job.first_token_at - job.admitted_at,
            "request_decode_time": decode,
            "request_inference_time": job.finished_at - job.admitted_at,
        }
        for name, seconds in spans.items():
            self.histograms[f"vllm:{name}_seconds"].observe(seconds)
        if job.generated > 1:
            per_token = decode / (job.generated - 1)
            self.histograms["vllm:inter_token_latency_seconds"].observe(per_token, job.generated - 1)

    def render(self, engine: Engine) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(list(self._families(engine))))
        return generate_latest(registry)

    def _families(self, engine: Engine) -> Iterator[Metric]:
        yield from self._gauges(engine)
        yield from self._counters(engine)
        labels = {"engine": "0", "model_name": self.model}
        for name, (text, _) in _HISTOGRAMS.items():
            histogram = self.histograms[name]
            family = HistogramMetricFamily(name, text, labels=list(labels))
            family.add_metric(list(labels.values()), histogram.buckets(), histogram.sum)
            yield family
            yield self._created(name, list(labels), [list(labels.values())])

    def _gauges(self, engine: Engine) -> Iterator[Metric]:
        labels, values = ["engine", "model_name"], ["0", self.model]
        capacity = len(engine.waiting)
        for name, text, value in (
            ("vllm:num_requests_running", "Number of requests in model execution batches.", len(engine.running)),
            ("vllm:num_requests_waiting", "Number of requests waiting to be processed.", capacity),
            ("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", engine.kv_usage),
            ("vllm:engine_sleep_state", "Engine sleep state.", 0),
        ):
            family = GaugeMetricFamily(name, text, labels=labels)
            family.add_metric(values, value)
            yield family
        reasons = GaugeMetricFamily(
            "vllm:num_requests_waiting_by_reason", "Waiting requests by reason.", labels=[*labels, "reason"]
        )
        reasons.add_metric([*values, "capacity"], capacity)
        reasons.add_metric([*values, "deferred"], 0)
        yield reasons
        blocks = engine.physics.kv_tokens // engine.physics.block_tokens
        info = {
            "block_size": str(engine.physics.block_tokens),
            "num_gpu_blocks": str(blocks),
            "kv_cache_size_tokens": str(engine.physics.kv_tokens),
            "enable_prefix_caching": "True",
            "engine": "0",
        }
        cache = GaugeMetricFamily(
            "vllm:cache_config_info", "Information of the LLMEngine CacheConfig", labels=list(info)
        )
        cache.add_metric(list(info.values()), 1)
        yield cache

    def _counters(self, engine: Engine) -> Iterator[Metric]:
        labels, values = ["engine", "model_name"], ["0", self.model]
        counted = engine.counters
        for name, value in (
            ("num_preemptions", counted.preemptions),
            ("prompt_tokens", counted.prompt_tokens),
            ("generation_tokens", counted.generation_tokens),
            ("prompt_tokens_cached", counted.prompt_tokens_cached),
            ("prefix_cache_queries", counted.prefix_cache_queries),
            ("prefix_cache_hits", counted.prefix_cache_hits),
        ):
            yield from self._counter(f"vllm:{name}", labels, [(values, value)])
        ends = [([*values, reason], self.finished[reason]) for reason in _FINISHED]
        yield from self._counter("vllm:request_success", [*labels, "finished_reason"], ends)
        refused = [([self.model, reason], count) for reason, count in sorted(self.rejected.items())]
        if refused:
            yield from self._counter("vllm:admission_rejections", ["model_name", "reason"], refused)

    def _counter(self, name: str, labels: list[str], rows: list[tuple[list[str], int]]) -> Iterator[Metric]:
        family = CounterMetricFamily(name, f"Count of {name.removeprefix('vllm:').replace('_', ' ')}.", labels=labels)
        for values, value in rows:
            family.add_metric(values, value)
        yield family
        yield self._created(name, labels, [values for values, _ in rows])

    def _created(self, name: str, labels: list[str], rows: list[list[str]]) -> Metric:
        family = GaugeMetricFamily(f"{name}_created", f"When {name} was created.", labels=labels)
        for values in rows:
            family.add_metric(values, self.created)
        return family


class _Collector:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
