"""The work: tasks with made-up shop pages in them, as like real ones as their cost depends on.

Of 48 real pages of 20 to 120 kB the middle one has 15.7 `<` a kB, 1.5 links a kB, 24 % of its bytes in scripts and
11 % as text to read; `tests/test_benchmarks.py` keeps these pages near that. Every page is different, the same seed
gives the same pages, and each describes the same product, so that one canned answer is right for all of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

SMALLEST, LARGEST = 30_000, 60_000  # bytes of a page
_SCRIPTS, _STYLES = 0.25, 0.02  # shares of the page's bytes

PRODUCT: dict[str, Any] = {
    "name": "Nordlys Trail 32 L backpack",
    "brand": "Nordlys",
    "price": 129.95,
    "currency": "EUR",
    "sku": "NT32-0481",
    "in_stock": True,
    "rating": 4.6,
    "colours": ["moss green", "slate", "rust"],
    "summary": "A light pack with a vented back for day trips and huts, made of recycled nylon.",
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "brand", "price", "currency", "sku", "in_stock"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 200, "description": "the product's full name"},
        "brand": {"type": "string", "maxLength": 100},
        "price": {"type": "number", "minimum": 0, "description": "what a buyer pays now"},
        "currency": {"type": "string", "enum": ["EUR", "USD", "GBP", "SEK"]},
        "sku": {"type": "string", "pattern": "^[A-Z0-9-]+$"},
        "in_stock": {"type": "boolean"},
        "rating": {"type": ["number", "null"], "minimum": 0, "maximum": 5},
        "colours": {"type": "array", "items": {"type": "string"}, "maxItems": 20},
        "summary": {"type": "string", "maxLength": 500},
    },
}

_VOCABULARY = (
    "light strong woven recycled frame strap buckle pocket zip mesh padded vented hip belt rain cover bottle holder "
    "laptop sleeve camp stove lantern rope tent peg boot sock jacket hood glove merino fleece down shell trail ridge "
    "valley summit river forest winter summer autumn spring classic compact roomy quiet bright soft rough smooth new "
    "fast dry warm cool green blue grey black sand wide narrow long short adult junior pair set spare repair care"
)
_WORDS = _VOCABULARY.split()


def task_bodies(count: int, *, seed: int = 1) -> Iterator[bytes]:
    """Queue bodies of `count` tasks, all different."""
    schema = json.dumps(SCHEMA).encode()
    for number in range(count):
        html = json.dumps(product_page(number, seed=seed), ensure_ascii=False).encode()
        yield b'{"task_id": "bench-%d-%d", "html": %b, "schema": %b}' % (seed, number, html, schema)


def product_page(number: int, *, seed: int = 1) -> str:
    """One page of 30 to 60 kB, nearly all ASCII."""
    draw = random.Random(f"{seed}/{number}")
    size = draw.randint(SMALLEST, LARGEST)
    fixed = _header(draw) + _product(draw) + _specification(draw) + _footer(draw)
    room = size * (1 - _SCRIPTS - _STYLES) - len(fixed)
    middle = []
    while room > 0:
        part = draw.choices([_card, _review], [2, 1])[0](draw)
        middle.append(part)
        room -= len(part)
    body = fixed.replace("<!-- more -->", "".join(middle))
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{PRODUCT['name']} {number} | Shop</title>\n"
        f'<meta name="description" content="{_sentence(draw)}"><meta name="viewport" content="width=device-width">\n'
        f"<style>{_filler(draw, int(size * _STYLES), _rule)}</style></head>\n"
        f"<body>{body}\n<script>STATE</script></body></html>"
    )
    return page.replace("STATE", _filler(draw, size - len(page), _statement))


def _header(draw: random.Random) -> str:
    menus = "".join(
        f'<li class="nav-item has-menu"><a href="/{menu}/" class="nav-link">{menu.title()}</a><ul class="menu">'
        + "".join(
            '\n            <li class="menu-item level-2">'
            f'<a class="menu-link" href="/en/{menu}/{entry}/">{entry.title()}</a></li>'
            for entry in draw.sample(_WORDS, 5)
        )
        + "</ul></li>\n"
        for menu in draw.sample(_WORDS, 6)
    )
    return (
        '<header class="site-header"><a href="/" class="logo"><img src="/logo.svg" alt="Shop" width="120"></a>'
        f'<nav aria-label="Main"><ul class="nav">{menus}</ul></nav>'
        '<form role="search" action="/search"><input type="search" name="q" placeholder="Search"><button>Go</button>'
        '</form></header>\n<div class="modal" style="display:none"><p>Subscribe to our letter</p></div>\n'
    )


def _product(draw: random.Random) -> str:
    colours = "".join(f'<option value="{index}">{each}</option>' for index, each in enumerate(PRODUCT["colours"]))
    paragraphs = "".join(f"<p>{_paragraph(draw)}</p>\n" for _ in range(draw.randint(2, 4)))
    return (
        '<main><div class="product" data-id="481"><div class="gallery"><img src="/p/481-1.jpg" alt="front view">'
        f'<img src="/p/481-2.jpg" alt="side view"></div>\n<h1 class="title">{PRODUCT["name"]}</h1>'
        f'<p class="brand">by <a href="/b/nordlys">{PRODUCT["brand"]}</a></p>'
        '<div class="price-box"><span class="price"><span class="amount">129.95</span> <span>EUR</span></span>'
        f'<s class="was">{draw.randint(140, 180)}.00 EUR</s></div><p class="stock"><b>In stock</b></p>'
        f'<p class="sku">Article <span>{PRODUCT["sku"]}</span></p><p class="stars">4.6 of 5</p>'
        f'<label>Colour <select name="colour">{colours}</select></label><button class="buy">Add to basket</button>\n'
        f'<div class="description"><h2>Description</h2><p>{PRODUCT["summary"]}</p>\n{paragraphs}</div></div>\n'
    )


def _specification(draw: random.Random) -> str:
    rows = "".join(
        f"<tr><th>{draw.choice(_WORDS).title()} {draw.choice(_WORDS)}</th><td>{draw.randint(1, 900)} "
        f"{draw.choice(['g', 'mm', 'l', 'cm'])}</td></tr>\n"
        for _ in range(draw.randint(8, 16))
    )
    return f'<table class="spec"><caption>Specification</caption><tbody>{rows}</tbody></table>\n<!-- more --></main>\n'


def _footer(draw: random.Random) -> str:
    columns = "".join(
        f"<section><h4>{draw.choice(_WORDS).title()}</h4><ul>"
        + "".join(f'<li><a href="/info/{each}">{each.title()}</a></li>' for each in draw.sample(_WORDS, 4))
        + "</ul></section>\n"
        for _ in range(4)
    )
    return f'<footer class="site-footer">{columns}<p class="legal">All prices with tax.</p></footer>'


def _card(draw: random.Random) -> str:
    name, number = " ".join(draw.sample(_WORDS, 3)), draw.randint(10**5, 10**6)
    image = f"https://cdn.shop.example/media/cache/{number}-{name.replace(' ', '-')}"
    sizes = ", ".join(f"{image}-{width}w.webp?quality=80 {width}w" for width in (320, 640, 960))
    return (
        f'      <div class="product-grid__item col-6 col-md-4 col-lg-3" data-product-id="{number}" '
        f'data-tracking=\'{{"list":"related","position":{draw.randint(1, 99)},"variant":"{name}"}}\'>\n'
        f'        <article class="card card--product card--hover-shadow">\n'
        f'          <img class="card__image lazy" src="{image}-320w.jpg" srcset="{sizes}" '
        f'sizes="(max-width: 640px) 50vw, 25vw" alt="{name}" loading="lazy" width="320" height="320">\n'
        f'          <h3 class="card__title"><a class="card__link stretched-link" '
        f'href="/en/outdoor/{name.replace(" ", "-")}-{number}.html?ref=related&amp;campaign={number}">'
        f"{name.title()}</a></h3>\n"
        f'          <span class="price price--small" data-currency="EUR">{draw.randint(9, 300)}.95</span>\n'
        '          <button type="button" class="btn btn--icon" aria-label="Add to the list">'
        '<svg viewBox="0 0 24 24" aria-hidden="true"><path fill="none" stroke="currentColor" stroke-width="1.5" '
        'd="M12 21 3 12a5 5 0 0 1 7-7l2 2 2-2a5 5 0 0 1 7 7z"/></svg></button>\n        </article>\n      </div>\n'
    )


def _review(draw: random.Random) -> str:
    return (
        f'<article class="review"><header><b>{draw.choice(_WORDS).title()}</b> <span class="stars">'
        f"{draw.randint(3, 5)} of 5</span> <time>2025-0{draw.randint(1, 9)}-1{draw.randint(0, 9)}</time></header>"
        f"<p>{_paragraph(draw)}</p></article>\n"
    )


def _paragraph(draw: random.Random) -> str:
    return " ".join(_sentence(draw) for _ in range(draw.randint(2, 4)))


def _sentence(draw: random.Random) -> str:
    return " ".join(draw.choices(_WORDS, k=draw.randint(8, 14))).capitalize() + "."


def _statement(draw: random.Random) -> str:
    return (
        f"window.__{draw.choice(_WORDS)}={{id:{draw.randint(1, 10**6)},tags:{draw.sample(_WORDS, 3)},"
        f"on:function(e){{if(e.x<{draw.randint(1, 99)}){{return track('{draw.choice(_WORDS)}')}}}}}};\n"
    )


def _rule(draw: random.Random) -> str:
    name = f"{draw.choice(_WORDS)}-{draw.randint(1, 99)}"
    return f".{name}{{margin:{draw.randint(0, 40)}px;color:#{draw.randint(100, 999)}}}\n"


def _filler(draw: random.Random, size: int, piece: Callable[[random.Random], str]) -> str:
    pieces = []
    while size > 0:
        pieces.append(piece(draw))
        size -= len(pieces[-1])
    return "".join(pieces)
