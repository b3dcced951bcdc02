"""What a schema may be named by: a JSON file, a ready-made schema, or a pydantic model."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from scraper.errors import Misconfigured, Permanent
from scraper.models import Schema
from scraper.schemas import LONGEST_FILE

_NAME = re.compile(r"[a-z0-9_-]+")
_MODEL = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def load_schema(
    source: str,
    *,
    named_schema: Callable[[str], Schema],
    check_schema: Callable[[Schema], object] = lambda _: None,
    option: str = "--schema ",
) -> Schema:
    """The JSON Schema that `source` means: `product`, `./product.json`, or `shop.models:Product`.

    A model is imported from the folder of the caller or the installed packages: code of the person who asks, which
    is why no task may name one. `check_schema` raises Permanent for a schema that no worker would take. Raises
    Misconfigured, saying what would have been right; `option` is what the caller wrote before the source.
    """
    called = f"{option}{source}"
    try:
        schema = _load(source, named_schema, called)
        check_schema(schema)
    except Permanent as error:
        raise Misconfigured(f"{called}: {str(error).removeprefix('schema: ')}") from error
    except OSError as error:
        raise Misconfigured(f"{called}: cannot be read ({error.strerror})") from error
    return schema


def _load(source: str, named_schema: Callable[[str], Schema], called: str) -> Schema:
    if _NAME.fullmatch(source):
        return named_schema(source)
    if _MODEL.fullmatch(source) and not Path(source).exists():
        return _of_model(source, called)
    return _of_file(Path(source), called)


def _of_file(path: Path, called: str) -> Schema:
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(LONGEST_FILE + 1)
        if len(text) > LONGEST_FILE:
            raise Misconfigured(f"{called}: is longer than {LONGEST_FILE} characters, and so no schema")
        schema = json.loads(text)
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{called}: not UTF-8 (byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise Misconfigured(f"{called}: not JSON: {error.msg.removesuffix(' at')} at {where}") from error
    except RecursionError as error:
        raise Misconfigured(f"{called}: nested too deeply") from error
    except ValueError as error:  # the one thing left that Python refuses to read
        raise Misconfigured(f"{called}: has a number with too many digits") from error
    if not isinstance(schema, dict):
        raise Misconfigured(f"{called}: a JSON Schema is an object, this is {type(schema).__name__}")
    return schema


def _of_model(source: str, called: str) -> Schema:
    module_name, _, model_name = source.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a console script does not look into the caller's folder by itself
    try:
        model = getattr(importlib.import_module(module_name), model_name)
        schema: Schema = model.model_json_schema()
    except ImportError as error:
        raise Misconfigured(f"{called}: {error}") from error
    except AttributeError as error:
        raise Misconfigured(f"{called}: no pydantic model of that name ({error})") from error
    except Exception as error:  # the module is somebody's program: it may raise anything
        raise Misconfigured(f"{called}: {type(error).__name__}: {error}") from error
    return schema
