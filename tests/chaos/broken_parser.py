"""A Python whose HTML parser has a bug: a certain text makes it crash, in whatever process parses it.

The service has no hook for this. It is run by an environment of its own that differs from the usual one as a faulty
build of the parser's library would: everything in it is the usual one's, but for the parser.
"""

from __future__ import annotations

import os
import signal
import sysconfig
import venv
from pathlib import Path

import scraper

KILLING = "the-text-that-crashes-this-parser"
ROOT = Path(scraper.__file__).parent.parent


def python_with_a_broken_parser(folder: Path) -> Path:
    """Its interpreter. Workers started with it start their children with it as well."""
    venv.create(folder, symlinks=True, with_pip=False)
    places = sysconfig.get_path("purelib", vars={"base": str(folder)})
    usual = sysconfig.get_path("purelib")
    # executed at every start of this interpreter: first what the usual one has, then the bug
    first = f"import site; site.addsitedir({usual!r})"
    then = f"import sys; sys.path.append({str(ROOT)!r}); import tests.chaos.broken_parser as b; b.break_the_parser()"
    Path(places, "broken_parser.pth").write_text(f"{first}\n{then}\n")
    return folder / "bin" / "python"


def break_the_parser() -> None:
    """From now on, in this process."""
    from selectolax import lexbor  # noqa: PLC0415 the usual parser, of this interpreter

    parse = lexbor.LexborHTMLParser

    def parser(html: bytes | str, *arguments: object, **options: object) -> object:
        if KILLING in (html if isinstance(html, str) else html.decode(errors="replace")):
            os.kill(os.getpid(), signal.SIGSEGV)
        return parse(html, *arguments, **options)

    lexbor.LexborHTMLParser = parser
