"""From a model's answer to data: strict JSON first, then the task's schema.

Pure, and safe with what a model can be made to write: endless numbers, NaN, one key twice, bottomless nesting.
"""

from __future__ import annotations

import json
from typing import Final

from scraper.errors import Permanent
from scraper.json_text import NotStrict, read_strict
from scraper.models import Json, ParkReason
from scraper.pipeline.schema import CompiledSchema
from scraper.pipeline.structured.loose_json import MAX_MENDED_CHARS, mended

MAX_VIOLATIONS: Final = 10  # told to the model; more do not help it
MAX_WHAT_CHARS: Final = 200


def parse(answer: str) -> Json:
    """The value that `answer` is, as strict JSON; one ``` fence around it is tolerated.

    Broken syntax is mended, to an object or array only, and never where that would make something up. Raises
    Permanent(BAD_ANSWER), which never quotes the answer.
    """
    text = _unfenced(answer)
    try:
        return read_strict(text)
    except NotStrict as error:
        raise _bad(f"has {error}") from error
    except RecursionError as error:
        raise _bad("is nested too deeply") from error
    except ValueError as error:
        meant = None if _beyond_repair(text, error) else _meant(text)
        if meant is None:
            raise _bad(_where(text, error)) from error
        return meant


def violations(schema: CompiledSchema, data: Json) -> tuple[str, ...]:
    """What of `data` breaks the schema, as `path: what`, at most ten; empty where it fits. Values are never quoted."""
    if schema.validator.is_valid(data):
        return ()
    if schema.recursive and _deeper_than(schema.detailed_depth, data):
        return ("#: does not fit the schema",)
    found = []
    for error in schema.validator.iter_errors(data):
        steps = [_known(step, schema) for step in error.instance_path]
        if error.kind.name == "additionalProperties":
            what = "has properties that the schema does not allow"
        else:
            what = error.message[:MAX_WHAT_CHARS]
        found.append(f"{'/'.join(['#', *steps])}: {what}")
        if len(found) == MAX_VIOLATIONS:
            break
    return tuple(dict.fromkeys(found))


def _unfenced(answer: str) -> str:
    text = answer.strip()
    opening, line_end, rest = text.partition("\n")
    if line_end and opening.strip().lower() in {"```", "```json"} and rest.endswith("```"):
        return rest.removesuffix("```")
    return answer


def _beyond_repair(text: str, error: ValueError) -> bool:
    """Whether mending would make something up: the text just ends, or goes on after its value."""
    if not isinstance(error, json.JSONDecodeError):
        return True
    return error.msg.startswith(("Unterminated string", "Extra data")) or error.pos >= len(text.rstrip())


def _meant(text: str) -> Json:
    """The object or array that broken JSON was meant to be, or None."""
    if len(text) > MAX_MENDED_CHARS or not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = read_strict(mended(text))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) and value else None


def _where(text: str, error: ValueError) -> str:
    if not text.strip():
        return "is empty"
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON: {error.msg} at character {error.pos} of {len(text)}"
    return "is not JSON: a number has too many digits"


def _deeper_than(levels: int, value: Json) -> bool:
    if not isinstance(value, dict | list):
        return False
    if levels == 0:
        return True
    return any(_deeper_than(levels - 1, child) for child in (value.values() if isinstance(value, dict) else value))


def _known(step: str | int, schema: CompiledSchema) -> str:
    """A step of a path, fit for a log: a key that is not in the schema was made up by the model."""
    if isinstance(step, int):
        return str(step)
    return step if len(step) <= 60 and json.dumps(step, ensure_ascii=False) in schema.text else "*"


def _bad(what: str) -> Permanent:
    return Permanent(ParkReason.BAD_ANSWER, f"the answer {what}")
