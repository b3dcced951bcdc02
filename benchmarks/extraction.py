#!/usr/bin/env python3
"""What of real pages is right without a model, reaches the model, and stands on its page: a table per question.

    make bench-extraction PAGES_DIR=../shared/pages
    PAGES_DIR=../shared/pages python benchmarks/extraction.py structured

Each question is a module `extraction_NAME.py` beside this one with a function `tables(folder)`; names given as
arguments choose some of them.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run by path: its own folder is what Python puts there

from rich.console import Console  # noqa: E402 needs the line above


def sections() -> list[str]:
    """The names of all questions."""
    return sorted(path.stem.removeprefix("extraction_") for path in Path(__file__).parent.glob("extraction_*.py"))


def main(arguments: list[str]) -> None:
    folder = Path(os.environ.get("PAGES_DIR", ""))
    if not (folder / "products" / "truth.json").is_file():
        sys.exit("name the folder of pages: make bench-extraction PAGES_DIR=…")
    chosen = arguments or sections()
    if unknown := set(chosen) - set(sections()):
        sys.exit(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(sections())}")
    console = Console(width=160)
    for name in chosen:
        for table in import_module(f"benchmarks.extraction_{name}").tables(folder):
            console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
