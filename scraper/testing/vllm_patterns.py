"""A text that matches a JSON Schema's `pattern`, for patterns a grammar can do."""

from __future__ import annotations

import importlib
from typing import Any

from scraper.testing.vllm_grammar import GrammarError, compile_pattern


def text_matching(pattern: str) -> str:
    """A shortest-ish text that matches an ECMA pattern. Raises GrammarError for what a grammar cannot do."""
    compiled = compile_pattern(pattern)
    parser = importlib.import_module("re._parser")  # the only parser of patterns there is; private since 3.11
    return _generated(parser.parse(compiled.pattern))


def _generated(tree: Any) -> str:  # noqa: C901 - one case for each operation of a pattern
    out = []
    for operation, argument in tree:
        match str(operation):
            case "LITERAL":
                out.append(chr(argument))
            case "NOT_LITERAL":
                out.append("a" if argument != ord("a") else "b")
            case "ANY":
                out.append("a")
            case "IN":
                out.append(_member(argument))
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, inner = argument
                count = min(max(least, 1), most) if least < 10_000 else least
                if count > 10_000:
                    raise GrammarError(f"a pattern that repeats {count} times is more than this server generates")
                out.append(_generated(inner) * count)
            case "SUBPATTERN":
                out.append(_generated(argument[-1]))
            case "ATOMIC_GROUP":
                out.append(_generated(argument))
            case "BRANCH":
                out.append(_generated(argument[1][0]))
            case _:  # anchors and word boundaries take no room
                pass
    return "".join(out)


_CATEGORIES = {"CATEGORY_DIGIT": "0", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}
_CANDIDATES = "aA0 -_.,:;/b1éß@#\n"


def _member(items: Any) -> str:
    if str(items[0][0]) != "NEGATE":
        operation, argument = items[0]
        if str(operation) == "CATEGORY":
            return _CATEGORIES.get(str(argument), "-")
        return chr(argument[0] if str(operation) == "RANGE" else argument)
    return next((one for one in _CANDIDATES if not any(_is_in(one, item) for item in items[1:])), "~")


def _is_in(character: str, item: tuple[Any, Any]) -> bool:
    operation, argument = item
    match str(operation):
        case "LITERAL":
            return ord(character) == int(argument)
        case "RANGE":
            return bool(argument[0] <= ord(character) <= argument[1])
        case _:
            kind = str(argument).removeprefix("CATEGORY_")
            hit = {
                "DIGIT": character.isdigit(),
                "WORD": character.isalnum() or character == "_",
                "SPACE": character.isspace(),
            }
            return hit[kind] if kind in hit else not hit[kind.removeprefix("NOT_")]
