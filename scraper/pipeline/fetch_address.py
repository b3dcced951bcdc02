"""An address as text, read and held against the policy of `addresses`: by the fetcher, and before a task is queued."""

from __future__ import annotations

import httpx

from scraper.errors import Permanent
from scraper.models import ParkReason
from scraper.pipeline.addresses import check_host, check_port, check_scheme

MAX_URL_CHARACTERS = 8192


def parsed(url: str, *, relative_to: httpx.URL | None = None) -> httpx.URL:
    """Raises Permanent for what is no URL."""
    text = url.strip()
    if len(text) > MAX_URL_CHARACTERS:
        raise Permanent(ParkReason.REFUSED_ADDRESS, f"the address is longer than {MAX_URL_CHARACTERS} characters")
    try:
        found = httpx.URL(text) if relative_to is None else relative_to.join(text)
        _ = found.host  # decodes an internationalised name only now
    except (httpx.InvalidURL, ValueError) as error:  # idna's errors are ValueErrors
        raise Permanent(ParkReason.REFUSED_ADDRESS, "the address is malformed") from error
    return found


def checked(url: httpx.URL, *, allow_private: bool) -> httpx.URL:
    """`url` without fragment and with its host in its one spelling. Permanent if policy forbids to fetch it."""
    check_scheme(url.scheme)
    named = url.raw_host.decode("ascii")
    host = check_host(named, allow_private=allow_private)
    check_port(url.port, host=host)
    if url.userinfo:
        raise Permanent(
            ParkReason.REFUSED_ADDRESS, f"{host}: addresses that carry a user name or password are not fetched"
        )
    return url.copy_with(host=host, fragment=None) if host != named or "#" in str(url) else url


def refuse_hopeless(url: str) -> None:
    """Permanent for what no worker fetches, whatever its settings say of private addresses."""
    checked(parsed(url), allow_private=True)
