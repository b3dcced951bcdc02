"""What the name of a field says about its values: whether they are money, a link, and which words label them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from scraper.models import Json
from scraper.pipeline.grounding.numbers import NO_DEMAND, Demand

_CONCEPTS: Final = """
price preis prix preci prezz preço preco prijs cena cenu cenę ár: fiyat pris hinta цена ціна стоим
  価格 값 가격 价格 售价 מחיר السعر
  cost kosten coût costo custo fee gebühr amount betrag montant total summe salary gehalt lohn salaire salario
rating rate stern star étoile bewert note valora voto avalia beoord ocen hodnoc puan рейтинг оценк 評価 평점 评分 score
review bewert avis reseña opinion recens avalia beoord opini hodnoc yorum отзыв レビュー 리뷰 评论 评价 ratings comment
count anzahl nombre número numero quant stück total сколько кол-во 数量 개수
stock lager disponib bestand voorraad skład sklad налич 在庫 재고 库存 left available
servings serving portion serves person people yield pers ración raciones porzioni porç porci порц 人分 人份 인분
minutes minut min. min dauer zeit time temps tiempo tempo tijd czas čas süre мин врем 分 분 duration
hours hour stunde std heure hora ore uur godz hod час 時間 시간 小时
year jahr année año anno ano jaar rok год 年 년
age alter âge edad età idade leeftijd wiek věk возраст 歳 세
size größe grösse taille talla taglia tamanho maat rozmiar velikost beden размер サイズ 사이즈 尺码
weight gewicht poids peso gewicht waga hmotnost ağırlık вес 重量 무게 kg
width breite largeur ancho larghezza largura breedte szeroko šířka шир 幅 폭
height höhe hauteur alto altezza altura hoogte wysoko výška выс 高 높이
discount rabatt remise descuent sconto desconto korting rabat sleva indirim скид 割引 할인 折 %
guests capacity seats gäste plätze places plazas posti lugares plaatsen miejsc мест
rooms room zimmer pièces habitaci camer quarto kamer pokoj комнат 部屋 방
page seite pages página pagina strana sayfa стр 页 ページ 쪽
"""
_GROUPS: Final = [tuple(line.split()) for line in re.split(r"\n(?!  )", _CONCEPTS.strip().casefold())]
_MONEY: Final = re.compile(
    r"price|cost|amount|fee\b|salary|wage|total_?due|preis|betrag|prix|precio|prezzo|msrp|rrp", re.IGNORECASE
)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\W]+")
_OF_ITS_THING: Final = re.compile(
    r"(?:(?:current|sale|product) )?price|preis|prix|precio|prezzo|preço|prijs|cena|fiyat|pris|цена|"
    r"brand(?: name)?|marke|marque|marca|merk|marka|značka|бренд|"
    r"(?:price )?currency(?: code)?|währung|devise|moneda|valuta|moeda|waluta"
)
_TOO_COMMON: Final = frozenset(
    {"value", "number", "name", "item", "items", "the", "and", "for", "data", "info", "is", "of"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """What is known of the field that a value is for; one object for all fields alike, while they are remembered."""

    name: str = ""
    format: str = ""
    demand: Demand = NO_DEMAND
    near: bool = False  # its value stands by the name of the one thing that the page is about


def field(name: str, schema: Mapping[str, Json] | None = None, *, listed: bool = False) -> Field:
    """The field `name` of a schema; of an item in a list, the list's name. `listed` things are several."""
    part = schema or {}
    kind, title = part.get("format"), part.get("title")
    return _field(name, kind if isinstance(kind, str) else "", title if isinstance(title, str) else "", listed)


@lru_cache(1024)
def _field(name: str, kind: str, title: str, listed: bool) -> Field:  # noqa: FBT001
    named = [word.lower() for word in _CAMEL.split(f"{name[:100]} {title[:100]}") if word]
    labels = {word[:6] for word in named if len(word) > 2 and word not in _TOO_COMMON}
    for group in _GROUPS:
        if any(word.startswith(group[0]) or (group[0].startswith(word) and len(word) > 2) for word in named):
            labels.update(group)
    money = any(_MONEY.match(word) for word in named)
    called = " ".join(word.lower() for word in _CAMEL.split(name[:100]) if word)
    near = not listed and _OF_ITS_THING.fullmatch(called) is not None
    return Field(name, kind, Demand(tuple(sorted(labels)), money=money), near)
