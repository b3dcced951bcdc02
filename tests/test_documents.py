"""Documents are part of the product: what they list is what there is."""

import dataclasses
from pathlib import Path

import pytest

from scraper import events

ROOT = Path(__file__).parent.parent
EVENTS = sorted(
    (
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event
    ),
    key=lambda kind: kind.name,
)


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.name)
def test_the_architecture_lists_every_event_with_its_level_and_fields(kind):
    fields = " ".join(field.name for field in dataclasses.fields(kind))
    listed = [" ".join(line.split()) for line in (ROOT / "ARCHITECTURE.txt").read_text().splitlines()]
    assert f"{kind.name} {kind.level} {fields}" in listed
