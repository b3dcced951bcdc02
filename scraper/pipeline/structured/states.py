"""schema.org's enumerations, in the words that pages and schemas have for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from scraper.models import Json
from scraper.pipeline.structured.names import as_words
from scraper.pipeline.structured.terms import short


def meant(raw: Json) -> str | None:
    """What `raw` means in schema.org's words; what is none of them stays as it is."""
    if isinstance(raw, bool):
        return "InStock" if raw else "OutOfStock"
    if not isinstance(raw, str):
        return None
    told = _WAY.split(short(raw).rstrip("/"))[-1]
    return _STATES.get(_bare(told), told)


def among(choices: Sequence[Json], state: str) -> str | None:
    """The one of a schema's `choices` that means `state`, or what is meant by it where it makes fewer distinctions."""
    named = {_bare(each): each for each in choices if isinstance(each, str)}
    ways = [each for name in (state, *_LIKE.get(state, ())) for each in (name.lower(), *_ALSO.get(name, ()))]
    return next((named[each] for each in ways if each in named), None)


def _bare(text: str) -> str:
    return as_words(text).replace(" ", "")


_WAY: Final = re.compile(r"[/#]")
_WAYS: Final = {
    "InStock": "instock in available yes true 1",
    "OutOfStock": "outofstock oos out unavailable notinstock false no 0",
    "SoldOut": "soldout",
    "PreOrder": "preorder",
    "BackOrder": "backorder",
    "Discontinued": "discontinued",
    "LimitedAvailability": "limitedavailability",
    "OnlineOnly": "onlineonly",
    "InStoreOnly": "instoreonly",
    "PreSale": "presale",
    "MadeToOrder": "madetoorder",
    "NewCondition": "newcondition new",
    "UsedCondition": "usedcondition used",
    "RefurbishedCondition": "refurbishedcondition refurbished",
    "DamagedCondition": "damagedcondition",
    "EventScheduled": "eventscheduled",
    "EventCancelled": "eventcancelled",
    "EventPostponed": "eventpostponed",
    "EventRescheduled": "eventrescheduled",
    "EventMovedOnline": "eventmovedonline",
    "OfflineEventAttendanceMode": "offlineeventattendancemode",
    "OnlineEventAttendanceMode": "onlineeventattendancemode",
    "MixedEventAttendanceMode": "mixedeventattendancemode",
    "TELECOMMUTE": "telecommute",
    "HOUR": "hour",
    "DAY": "day",
    "WEEK": "week",
    "MONTH": "month",
    "YEAR": "year",
}
_STATES: Final = {way: state for state, ways in _WAYS.items() for way in ways.split()}
KNOWN: Final = frozenset(_STATES.values())
IN_STOCK: Final = frozenset({"InStock", "LimitedAvailability", "OnlineOnly"})
_LIKE: Final = {  # where a schema does not tell these apart
    "SoldOut": ("OutOfStock",),
    "LimitedAvailability": ("InStock",),
    "OnlineOnly": ("InStock",),
}
_ALSO: Final = {
    "InStock": ("available", "in", "yes", "true"),
    "OutOfStock": ("unavailable", "out", "no", "false", "notavailable"),
    "NewCondition": ("new",),
    "UsedCondition": ("used",),
    "RefurbishedCondition": ("refurbished",),
    "EventScheduled": ("scheduled",),
    "EventCancelled": ("cancelled", "canceled"),
    "EventPostponed": ("postponed",),
    "EventRescheduled": ("rescheduled",),
    "OfflineEventAttendanceMode": ("offline", "inperson"),
    "OnlineEventAttendanceMode": ("online",),
    "MixedEventAttendanceMode": ("mixed", "hybrid"),
    "HOUR": ("hourly", "perhour"),
    "DAY": ("daily",),
    "WEEK": ("weekly",),
    "MONTH": ("monthly", "permonth"),
    "YEAR": ("yearly", "annual", "annually", "peryear"),
}
YES: Final = {
    "InStock": True, "LimitedAvailability": True, "OnlineOnly": True,
    "OutOfStock": False, "SoldOut": False, "Discontinued": False, "TELECOMMUTE": True,
}  # fmt: skip
