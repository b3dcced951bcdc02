"""Pages of the simulated site: written for this project, deterministic by kind and number, each with its truth."""

from __future__ import annotations

from scraper.testing.site_pages.page import SitePage
from scraper.testing.site_pages.products import listing, product
from scraper.testing.site_pages.stories import article, event, job, organisation, recipe

KINDS = {
    "product": product,
    "article": article,
    "recipe": recipe,
    "event": event,
    "job": job,
    "organisation": organisation,
    "listing": listing,
}
HIGHEST_ID = 10_000_000

__all__ = ["HIGHEST_ID", "KINDS", "SitePage", "page"]


def page(kind: str, number: int, *, base_url: str) -> SitePage:
    """The page of this kind and number; the same for ever. Raises KeyError for an unknown kind or number."""
    if not 1 <= number <= HIGHEST_ID:
        raise KeyError(number)
    return KINDS[kind](number, base_url)
