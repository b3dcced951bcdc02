import json
import random

import pytest

from scraper.observability.histogram import LONGEST, PER_DECADE, SHORTEST, Histogram


def filled(*seconds):
    histogram = Histogram()
    for each in seconds:
        histogram.add(each)
    return histogram


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 0.99])
def test_quantiles_are_right_to_six_percent(share):
    draw = random.Random(1)
    seconds = sorted(draw.lognormvariate(0.5, 1.0) for _ in range(20_000))
    assert filled(*seconds).quantile(share) == pytest.approx(seconds[int(share * len(seconds))], rel=0.06)


def test_nothing_seen_has_no_quantile():
    assert Histogram().quantile(0.5) is None
    assert Histogram().mean is None


def test_whatever_is_added_the_buckets_are_bounded():
    histogram = filled(*(10.0**power for power in range(-300, 300)), 0.0, -1.0)
    assert set(histogram.buckets) <= set(range(SHORTEST, LONGEST + 1))


def test_two_halves_make_the_whole_and_the_whole_less_a_half_is_the_other():
    a, b, both = filled(0.5, 1.0), filled(2.0), filled(0.5, 1.0)
    both.merge(b)
    assert vars(both) == vars(filled(0.5, 1.0, 2.0))
    assert vars(both.since(a)) == vars(b)


def test_a_decade_ends_on_a_bucket():
    assert filled(0.1, 1.0, 1.0001, 10.0).at_most(0) == 2
    assert filled(0.1, 1.0, 1.0001, 10.0).at_most(PER_DECADE) == 4


def test_it_survives_json():
    histogram = filled(0.2, 3.0)
    assert vars(Histogram.of(json.loads(json.dumps(histogram.plain())))) == vars(histogram)
