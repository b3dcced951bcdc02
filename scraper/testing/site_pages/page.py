"""What every page of the simulated site is built from: its bytes, its head, its frame, its noise."""

from __future__ import annotations

import html
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scraper.testing.site_pages.languages import LANGUAGES, Language


@dataclass(frozen=True, slots=True)
class SitePage:
    """A page as it is sent, and what is true of it."""

    body: bytes
    content_type: str
    truth: dict[str, Any]


class Draft:
    """A page in the making: its own random numbers, its language, its parts."""

    def __init__(self, kind: str, number: int, base_url: str) -> None:
        self.kind = kind
        self.number = number
        self.base_url = base_url
        self.random = random.Random(f"{kind}/{number}")
        self.language: Language = LANGUAGES[number % len(LANGUAGES)]
        self.url = f"{base_url}/{kind}/{number}"
        self.head: list[str] = []
        self.main: list[str] = []

    def label(self, key: str) -> str:
        return self.language.labels[key]

    def prose(self, sentences: int) -> str:
        return self.language.space.join(self.random.choice(self.language.sentences) for _ in range(sentences))

    def paragraphs(self, count: int, *, sentences: int = 4) -> str:
        return "\n".join(f"<p>{self.prose(sentences)}</p>" for _ in range(count))

    def json_ld(self, value: Any, *, spoil: bool = False) -> None:
        text = json.dumps({"@context": "https://schema.org", **value}, ensure_ascii=False, indent=1)
        if spoil:  # a trailing comma, as hand-made templates leave behind
            text = text[:-2] + ",\n}"
        inside_script = text.replace("</", "<\\/")
        self.head.append(f'<script type="application/ld+json">{inside_script}</script>')

    def meta(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.head += [f'<meta property="{name}" content="{escape(value)}">' for name, value in pairs]

    def finished(self, title: str, truth: dict[str, Any]) -> SitePage:
        charset, content_type, declared = self._charset()
        text = self._frame(title, declared)
        body = text.encode(charset, "xmlcharrefreplace")
        return SitePage(body, content_type, {**truth, "url": self.url, "language": self.language.code})

    def _charset(self) -> tuple[str, str, str]:
        """(codec, Content-Type, meta tag): declared in the header, by a BOM, in a meta tag, or in the header again."""
        old = self.language.charset
        match self.number // len(LANGUAGES) % 5:
            case 1:
                return old, "text/html", f'<meta http-equiv="Content-Type" content="text/html; charset={old}">'
            case 2:
                return "utf-8-sig", "text/html", ""
            case 3:
                return old, f"text/html; charset={old}", ""
            case _:
                return "utf-8", "text/html; charset=utf-8", '<meta charset="utf-8">'

    def _frame(self, title: str, declared: str) -> str:
        return "\n".join(
            [
                f'<!DOCTYPE html>\n<html lang="{self.language.code}"><head>{declared}',
                f"<title>{escape(title)} – Alder &amp; Sons</title>",
                f'<link rel="canonical" href="{self.url}">',
                *self.head,
                self._styles(),
                "</head><body>",
                self._navigation(),
                "<main>",
                *self.main,
                "</main>",
                self._footer(),
                self._scripts(),
                "</body></html>",
            ]
        )

    def _styles(self) -> str:
        rules = [
            f".b{self.random.randrange(10_000)}-{name}{{margin:{self.random.randrange(40)}px;color:#{name:03x}}}"
            for name in range(self.random.randrange(20, 500))
        ]
        return f"<style>{''.join(rules)}</style>"

    def _navigation(self) -> str:
        links = "".join(
            f'<li><a href="/listing/{self.random.randrange(1, 500)}">{thing}</a></li>' for thing in self.language.things
        )
        return (
            f'<header><nav><ul><li><a href="/">{self.label("home")}</a></li>{links}</ul></nav>'
            f'<form action="/search"><input name="q" placeholder="{self.label("search")}"></form></header>'
        )

    def _footer(self) -> str:
        return (
            f'<footer><p>© Alder &amp; Sons</p><a href="/organisation/1">{self.label("imprint")}</a>'
            f"<small>{self.prose(2)}</small></footer>"
        )

    def _scripts(self) -> str:
        rows = [
            {
                "id": self.random.randrange(10**6),
                "slot": f"s{index}",
                "weights": [self.random.random() for _ in range(4)],
            }
            for index in range(self.random.randrange(5, 220))
        ]
        state = json.dumps({"build": f"{self.random.getrandbits(64):x}", "slots": rows})
        return f"<script>window.__STATE__={state};(function(){{var a=document;a.title=a.title}})()</script>"


def escape(text: str) -> str:
    return html.escape(text, quote=True)


def rows(pairs: Sequence[tuple[str, str]], *, shape: int) -> str:
    """Label and value as a table, a definition list, a list or plain lines."""
    safe = [(escape(label), escape(value)) for label, value in pairs]
    match shape % 4:
        case 0:
            return "<table>" + "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in safe) + "</table>"
        case 1:
            return "<dl>" + "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in safe) + "</dl>"
        case 2:
            return "<ul>" + "".join(f"<li><b>{key}:</b> {value}</li>" for key, value in safe) + "</ul>"
        case _:
            return "".join(f"<p>{key}: <span>{value}</span></p>" for key, value in safe)
