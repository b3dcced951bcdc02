"""What runs on this host: one picture of all supervisors that share the model server and RUN_DIR."""

from __future__ import annotations

import time

from scraper.config import Settings
from scraper.observability.picture import Picture


async def host_picture(settings: Settings) -> Picture:
    """As it is now; an empty one where nothing runs. The length of the queue is not in it."""
    from scraper.observability.told import ask_all
    from scraper.observability.watching import known_or_none
    from scraper.throttle import operations

    endpoint, run_dir = settings.vllm_base_url, settings.run_dir
    picture = Picture.of(await ask_all(endpoint, run_dir))
    status = await known_or_none(lambda: operations.show(endpoint, run_dir))
    picture.throttle_says(status, at=time.time())
    return picture
