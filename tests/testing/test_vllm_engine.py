"""The physics alone, in virtual time: no clock, no sockets, the same numbers on every machine."""

import dataclasses

import pytest

from scraper.testing.vllm_engine import NEVER, PRESETS, Engine, Job, Physics

GPU = dataclasses.replace(PRESETS["rtx5090-8b"], oom_probability=0.0)
SMALL = Physics("small", 0.01, 0.0001, 0.0, kv_tokens=1_000, max_num_seqs=8, noise=0.0, oom_probability=0.0)


def run_until_idle(engine, *, most_seconds=10_000.0):
    finished = []
    while engine.due != NEVER:
        assert engine.due < most_seconds, "the engine never becomes idle"
        finished += engine.advance(engine.due, max_steps=1)
    return finished


def closed_loop(physics, *, in_flight, prompt_tokens, output_tokens, seconds, seed=1):
    """(tokens per second, preemptions) with always `in_flight` requests, after a third of the time to settle."""
    engine = Engine(physics, seed=seed)
    for index in range(in_flight):  # spread over their first lives, so that they do not march in step
        first = max(1, output_tokens * (index + 1) // in_flight)
        engine.submit(Job(prompt_tokens=prompt_tokens, output_tokens=first), now=0.0)
    counted_from, tokens = seconds / 3, 0
    while engine.due < seconds:
        if engine.due < counted_from:
            tokens = engine.counters.generation_tokens
        for job in engine.advance(engine.due, max_steps=1):
            engine.submit(Job(prompt_tokens=prompt_tokens, output_tokens=output_tokens), now=job.finished_at)
    return (engine.counters.generation_tokens - tokens) / (seconds - counted_from), engine.counters.preemptions


@pytest.mark.parametrize(
    ("in_flight", "tokens_per_second"),
    [(1, 93), (4, 347), (8, 640), (16, 1138), (32, 1778), (64, 2580), (128, 3329), (256, 3698)],
)
def test_throughput_follows_the_published_curve_within_three_percent(in_flight, tokens_per_second):
    measured, _ = closed_loop(GPU, in_flight=in_flight, prompt_tokens=200, output_tokens=200, seconds=120)
    assert measured == pytest.approx(tokens_per_second, rel=0.03)


def test_the_fp8_preset_reaches_its_measured_throughput_within_three_percent():
    physics = dataclasses.replace(PRESETS["rtx5090-8b-fp8"], oom_probability=0.0)
    measured, _ = closed_loop(physics, in_flight=256, prompt_tokens=200, output_tokens=200, seconds=120)
    assert measured == pytest.approx(5_476, rel=0.03)


def test_long_prompts_peak_near_eighteen_in_flight_and_collapse_at_twenty_four():
    rates = {
        n: closed_loop(GPU, in_flight=n, prompt_tokens=4_000, output_tokens=300, seconds=240)[0] for n in (2, 8, 18, 24)
    }
    assert rates[2] < rates[8] < rates[18]
    assert rates[24] < 0.7 * rates[18]
    assert closed_loop(GPU, in_flight=24, prompt_tokens=4_000, output_tokens=300, seconds=60)[1] > 0


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    def run(seed):
        return closed_loop(GPU, in_flight=6, prompt_tokens=300, output_tokens=50, seconds=20, seed=seed)

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_a_request_alone_takes_one_step_a_token():
    engine = Engine(SMALL)
    job = Job(prompt_tokens=100, output_tokens=5)
    engine.submit(job, now=0.0)
    run_until_idle(engine)
    assert job.first_token_at == pytest.approx(0.01 + 100 * 0.0001)
    assert job.finished_at == pytest.approx(job.first_token_at + 4 * (0.01 + 0.0001))


def test_no_more_than_max_num_seqs_run_and_the_rest_come_in_order():
    engine = Engine(SMALL)
    jobs = [Job(prompt_tokens=10, output_tokens=3) for _ in range(20)]
    for job in jobs:
        engine.submit(job, now=0.0)
    engine.advance(engine.due, max_steps=1)
    assert len(engine.running) == 8
    assert run_until_idle(engine) == jobs
    assert engine.counters.max_running == 8


def test_a_long_prompt_is_prefilled_in_chunks_of_the_step_budget():
    engine = Engine(dataclasses.replace(SMALL, kv_tokens=10_000, step_tokens=100))
    job = Job(prompt_tokens=450, output_tokens=1)
    engine.submit(job, now=0.0)
    run_until_idle(engine)
    assert engine.counters.steps == 5


def test_a_full_cache_preempts_the_youngest_and_everybody_still_finishes():
    engine = Engine(SMALL)
    jobs = [Job(prompt_tokens=230, output_tokens=100) for _ in range(4)]
    for job in jobs:
        engine.submit(job, now=0.0)
    finished = run_until_idle(engine)
    assert engine.counters.preemptions > 0
    assert jobs[0].preemptions == 0
    assert jobs[-1].preemptions > 0
    assert {id(job) for job in finished} == {id(job) for job in jobs}
    assert all(job.generated == 100 for job in jobs)
    assert engine.kv_used == 0


def test_the_cache_never_holds_more_than_there_is():
    engine = Engine(SMALL, seed=5)
    for index in range(60):
        hashes = [index % 5 * 100 + block for block in range(12)]
        engine.submit(Job(prompt_tokens=200, output_tokens=40 + index, block_hashes=hashes), now=0.0)
    while engine.due != NEVER:
        engine.advance(engine.due, max_steps=1)
        assert 0 <= engine.kv_used <= SMALL.kv_tokens
    assert engine.kv_used == 0


def test_prompts_that_fill_the_cache_by_themselves_do_not_lock_it():
    engine = Engine(dataclasses.replace(SMALL, step_tokens=64))
    jobs = [Job(prompt_tokens=900, output_tokens=5) for _ in range(3)]
    for job in jobs:
        engine.submit(job, now=0.0)
    assert len(run_until_idle(engine)) == 3


def test_a_prompt_seen_before_is_prefilled_from_the_cache_but_for_its_end():
    engine = Engine(SMALL)
    hashes = list(range(20))
    first = Job(prompt_tokens=320, output_tokens=1, block_hashes=hashes)
    second = Job(prompt_tokens=320, output_tokens=1, block_hashes=hashes)
    engine.submit(first, now=0.0)
    run_until_idle(engine)
    engine.submit(second, now=10.0)
    run_until_idle(engine)
    assert (first.cached_tokens, second.cached_tokens) == (0, 304)
    assert second.finished_at - 10.0 < first.finished_at
    assert engine.counters.prefix_cache_queries == 640
    assert engine.counters.prefix_cache_hits == 304


def test_a_shared_prefix_is_kept_once():
    engine = Engine(SMALL)
    hashes = list(range(40))
    engine.submit(Job(prompt_tokens=640, output_tokens=30, block_hashes=hashes), now=0.0)
    engine.advance(engine.due, max_steps=1)
    engine.submit(Job(prompt_tokens=640, output_tokens=30, block_hashes=hashes), now=engine.due)
    engine.advance(engine.due, max_steps=2)
    assert len(engine.running) == 2
    assert engine.kv_used < 700
    run_until_idle(engine)
    assert engine.kv_used == 0


def test_an_old_prefix_makes_room_when_the_cache_is_needed():
    engine = Engine(SMALL)
    engine.submit(Job(prompt_tokens=320, output_tokens=1, block_hashes=list(range(20))), now=0.0)
    run_until_idle(engine)
    engine.submit(Job(prompt_tokens=960, output_tokens=1), now=1.0)
    run_until_idle(engine)
    again = Job(prompt_tokens=320, output_tokens=1, block_hashes=list(range(20)))
    engine.submit(again, now=2.0)
    run_until_idle(engine)
    assert again.cached_tokens < 304


@pytest.mark.parametrize("steps_before", [0, 1, 3])
def test_an_aborted_request_gives_its_cache_back_and_yields_nothing_more(steps_before):
    engine = Engine(SMALL)
    doomed, other = Job(prompt_tokens=50, output_tokens=20), Job(prompt_tokens=50, output_tokens=20)
    engine.submit(doomed, now=0.0)
    engine.submit(other, now=0.0)
    for _ in range(steps_before):
        engine.advance(engine.due, max_steps=1)
    generated = doomed.generated
    engine.abort(doomed)
    assert run_until_idle(engine) == [other]
    assert doomed.generated == generated
    assert engine.kv_used == 0


def test_aborting_twice_or_after_the_end_changes_nothing():
    engine = Engine(SMALL)
    job = Job(prompt_tokens=50, output_tokens=2)
    engine.submit(job, now=0.0)
    run_until_idle(engine)
    engine.abort(job)
    engine.abort(job)
    assert engine.kv_used == 0


def test_a_frozen_engine_gives_no_token_and_goes_on_where_it_stood():
    engine = Engine(SMALL)
    job = Job(prompt_tokens=50, output_tokens=3)
    engine.submit(job, now=0.0)
    engine.freeze(now=0.001)
    assert engine.advance(1_000.0) == []
    assert job.generated == 0
    engine.thaw(now=1_000.0)
    run_until_idle(engine, most_seconds=1_001.0)
    assert job.finished_at == pytest.approx(999.999 + 0.015 + 2 * 0.0101)


def test_a_request_that_comes_to_a_frozen_engine_waits_for_the_thaw():
    engine = Engine(SMALL)
    engine.freeze(now=0.0)
    job = Job(prompt_tokens=10, output_tokens=1)
    engine.submit(job, now=1.0)
    engine.thaw(now=5.0)
    assert run_until_idle(engine) == [job]
    assert job.finished_at > 5.0


def test_slow_makes_every_step_longer():
    def seconds(slow):
        engine = Engine(SMALL)
        engine.slow = slow
        job = Job(prompt_tokens=10, output_tokens=10)
        engine.submit(job, now=0.0)
        run_until_idle(engine)
        return job.finished_at

    assert seconds(3.0) == pytest.approx(3 * seconds(1.0))


def test_a_cache_below_the_danger_line_never_crashes_and_above_it_surely_does_in_the_end():
    danger = dataclasses.replace(SMALL, oom_probability=0.5)
    calm, full = Engine(danger, seed=1), Engine(danger, seed=1)
    calm.submit(Job(prompt_tokens=500, output_tokens=400), now=0.0)
    run_until_idle(calm)
    assert not calm.crashed
    full.submit(Job(prompt_tokens=980, output_tokens=20), now=0.0)
    for _ in range(20):
        full.advance(full.due, max_steps=1)
    assert full.crashed


def test_the_instant_preset_answers_in_no_time():
    engine = Engine(PRESETS["instant"])
    job = Job(prompt_tokens=100, output_tokens=50)
    engine.submit(job, now=7.0)
    assert (job.finished_at, job.generated) == (7.0, 50)
    assert engine.counters.generation_tokens == 50


def test_late_steps_are_caught_up_with_at_once():
    engine = Engine(SMALL)
    job = Job(prompt_tokens=10, output_tokens=10)
    engine.submit(job, now=0.0)
    assert engine.advance(100.0) == [job]
    assert job.finished_at < 1.0
