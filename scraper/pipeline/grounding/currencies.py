"""Currencies as pages write them: a sign or a word beside the amount."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Final

_ALIKE: Final = """
EUR € euro euros
USD $ us$ dollar dollars usd$
CAD $ c$ ca$ can$
AUD $ a$ au$
NZD $ nz$
SGD $ s$
HKD $ hk$
TWD $ nt$ 元
MXN $ mx$ pesos
CLP $ pesos
COP $ pesos
ARS $ pesos
BRL r$ reais
GBP £ pound pounds
JPY ¥ 円 yen
CNY ¥ 元 rmb yuan
KRW ₩ 원
INR ₹ rs rs. rupees
PKR rs rs. ₨
LKR rs rs. ₨
NPR rs rs. ₨
RUB ₽ руб руб. рублей р р.
UAH ₴ грн грн.
KZT ₸ тг тенге
BYN руб руб.
PLN zł zl
CZK kč kc
HUF ft
RON lei
BGN лв лв.
SEK kr kr. :-
NOK kr kr. ,-
DKK kr kr. ,-
ISK kr kr.
CHF fr fr. sfr sfr.
TRY ₺ tl
ILS ₪ nis
VND ₫ đ vnđ
THB ฿ บาท
PHP ₱
NGN ₦
CRC ₡
PYG ₲
GEL ₾
GHS ₵
IDR rp rp.
MYR rm
ZAR r
AED aed dhs د.إ
SAR sar ر.س
EGP egp ج.م
PEN s/ s/.
HRK kn
RSD din rsd дин
"""

_NAMES: Final = {line.split()[0].lower(): frozenset(line.lower().split()) for line in _ALIKE.strip().splitlines()}
_ALL: Final = frozenset().union(*_NAMES.values())
_SIGNS: Final = "€$£¥₩₹₨₽₴₸₺₪₫฿₱₦₡₲₾₵"
_WORDS: Final = sorted({name for names in _NAMES.values() for name in names if name[0] not in _SIGNS}, key=len)[::-1]
_AFTER_ONLY: Final = {
    "r",
    "р",
    "р.",
    "fr",
    "fr.",
    "ft",
    "tl",
    "lei",
    "din",
    "元",
    "円",
    "pesos",
    "dollar",
    "dollars",
    "pound",
    "yen",
}
_WORD: Final = "|".join(re.escape(word) for word in _WORDS if word not in {":-", ",-"})
_WORD_BEFORE: Final = "|".join(re.escape(word) for word in _WORDS if word not in {":-", ",-"} | _AFTER_ONLY)
_BEFORE: Final = re.compile(rf"(?:[{_SIGNS}]|(?<![^\W\d_])(?:{_WORD_BEFORE}))[\s:~|.*]*$")
_ONE: Final = rf"(?:[{_SIGNS}]|(?:{_WORD})(?![^\W\d_]))"
_AFTER: Final = re.compile(  # on a line below only where no other amount follows, which it then belongs to
    rf"[^\S\n]*[~|.,:–—*-]*[^\S\n]*{_ONE}|[~|.,:–—*\s-]*{_ONE}(?!\s?\d)|\s?[:.,][-–—]"
)
_REACH: Final = 10  # characters to either side that a currency and the space before it take


def aliases(currency: str) -> frozenset[str]:
    """All that a page may call the currency that `currency` is the code, the sign or a name of; empty if it is none."""
    wanted = currency.strip().lower()
    if wanted in _NAMES:
        return _NAMES[wanted]
    found = [names for names in _NAMES.values() if wanted in names]
    return frozenset({wanted, *(code for code, names in _NAMES.items() if wanted in names)}) if found else frozenset()


def is_code(value: str) -> bool:
    return len(value) == 3 and value.isupper() and value.lower() in _NAMES


def beside_numbers(names: AbstractSet[str]) -> re.Pattern[str]:
    """One of these names of a currency beside a number, where readers would take it for one, or called the currency."""
    before = _any_of(names - _AFTER_ONLY)
    after = _any_of(names)
    ways = [rf"\d(?<![^\W\d]\d)[\s.,~|*–-]{{0,3}}(?:{after})(?![^\W\d_])", rf"currency: (?:{after})(?!\w)"]
    if before:
        ways.append(rf"(?<![^\W\d_])(?:{before})[\s:~|*]{{0,3}}\d")
    return re.compile("|".join(ways))


def _any_of(names: AbstractSet[str]) -> str:
    return "|".join(re.escape(each) for each in sorted(names, key=len, reverse=True))


def before(text: str, position: int) -> bool:
    """Whether a currency stands right before `position` of a normal text."""
    return _BEFORE.search(text, max(0, position - _REACH), position) is not None


def after(text: str, position: int) -> bool:
    """Whether one stands right after it."""
    return _AFTER.match(text, position, position + _REACH) is not None


def is_word(letters: str) -> bool:
    """Whether `letters`, written right before an amount, are a currency: Rs99, USD99."""
    return len(letters) > 1 and letters in _ALL
