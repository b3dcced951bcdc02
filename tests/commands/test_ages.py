from datetime import timedelta

import click
import pytest

from scraper.commands.ages import Age, spoken


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        (" 45M ", timedelta(minutes=45)),
        ("90 s", timedelta(seconds=90)),
        ("2w", timedelta(weeks=2)),
        ("0d", timedelta()),
    ],
)
def test_an_age_is_a_number_and_its_unit(text, age):
    assert Age().convert(text, None, None) == age


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5h", "30 days", "99999999d", "٣d"])
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(click.BadParameter, match="30d"):
        Age().convert(text, None, None)


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(days=3, hours=5), "3d"),
        (timedelta(hours=5), "5h"),
        (timedelta(seconds=61), "1m"),
        (timedelta(seconds=-2), "0s"),
    ],
)
def test_an_age_is_spoken_in_its_largest_unit(age, said):
    assert spoken(age) == said
