"""Whether values stand on the page that they are said to come from, and where."""

from __future__ import annotations

from scraper.pipeline.grounding.fields import Field, field
from scraper.pipeline.grounding.page_index import PageIndex

__all__ = ["Field", "PageIndex", "field"]
