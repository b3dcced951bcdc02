"""The status page in a real browser, of real workers: what a person sees, clicks and types."""

# ruff: noqa: F401, F811 - fixtures are imported, and asked for by their names

import asyncio
import os
import re
import signal
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import expect

from scraper.testing.vllm_faults import parse_faults
from tests.browser import ARTEFACTS, Watched, browser
from tests.rabbitmq import free_ports
from tests.service import Service
from tests.test_whole_path import HANGS_SECONDS, children_of, ended, model, site, submit

TOKEN = "a token of the owner"
HOSTILE = "<img src=x onerror=alert(1)>"
MANY = range(1, 3000)
"""More products than can be done while a test looks."""
expect.set_options(timeout=1000 * HANGS_SECONDS)


@pytest.fixture
def service(tmp_path, model):
    return Service(
        tmp_path,
        VLLM_BASE_URL=model.base_url,
        VLLM_REQUESTS_PER_MINUTE=240,
        ALLOW_PRIVATE_ADDRESSES="on",
        FETCH_DELAY=0,
        HTTP_PORT=free_ports(1)[0],
        DASHBOARD_TOKEN=TOKEN,
    )


@pytest.fixture
async def chromium():
    async with browser() as opened:
        yield opened


@asynccontextmanager
async def looking_at(chromium, origin, *, expected="", **options):
    """The page at `origin`, which may complain about nothing but what is `expected`."""
    context = await chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(1000 * HANGS_SECONDS)
    watched = Watched(await context.new_page(), origin)
    try:
        await watched.page.goto(origin)
        await expect(watched.page.locator("#link")).to_contain_text("live")
        yield watched.page
        assert [each for each in watched.complaints if not expected or expected not in each] == []
    finally:
        await context.close()


@asynccontextmanager
async def running(service):
    """Workers, and where they are served; their log is read so that it never fills its pipe."""
    with service.running() as process:
        log = asyncio.create_task(asyncio.to_thread(process.stderr.read))
        origin = f"http://127.0.0.1:{service.environment['HTTP_PORT']}/"
        async with asyncio.timeout(HANGS_SECONDS):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", int(service.environment["HTTP_PORT"]))
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    await writer.wait_closed()
                    break
        try:
            yield process, origin
        finally:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(log, HANGS_SECONDS)


async def text(page, selector):
    return await page.locator(selector).inner_text()


async def done(page, *, above=0):
    """How many tasks are done, as soon as they are more than `above`. (The page's policy forbids to ask its scripts.)"""
    shown = await text(page, "#done")
    while (count := int(re.sub(r"\D.*", "", shown) or 0)) <= above:
        await expect(page.locator("#done")).not_to_have_text(shown, timeout=1000 * HANGS_SECONDS)
        shown = await text(page, "#done")
    return count


async def test_it_shows_what_happens_as_it_happens_and_survives_a_killed_worker(chromium, service, site):
    await submit(service, *[site.url(f"/product/{number}") for number in MANY])
    async with running(service) as (process, origin), looking_at(chromium, origin) as page:
        await done(page, above=await done(page, above=2))
        await expect(page.locator("#limited")).to_contain_text("VLLM_REQUESTS_PER_MINUTE=240")
        [worker] = children_of(process.pid)
        os.kill(worker, signal.SIGKILL)
        await expect(page.locator("#trouble")).to_contain_text("1 restart")
        await expect(page.locator("#events")).to_contain_text("worker_restarted")
        await done(page, above=await done(page, above=-1))
        await expect(page.locator("#link")).to_contain_text("live")


async def test_controls_work_with_the_token_and_refuse_without(chromium, service, site):
    await submit(service, *[site.url(f"/product/{number}") for number in MANY])
    # a refusal is an error to the browser itself, which says so in its console
    async with running(service) as (_, origin), looking_at(chromium, origin, expected="status of 401") as page:
        await expect(page.locator("#starts")).to_contain_text("/ 240")  # the worker brings its limits
        await page.locator("#pause").click()
        await expect(page.locator("#answer")).to_contain_text("the token is wrong")
        await expect(page.locator("#token")).to_be_focused()
        await page.keyboard.type(TOKEN)
        await page.locator("#pace").fill("30")
        await page.locator("#max-concurrent").fill("1")
        await page.keyboard.press("Enter")
        await expect(page.locator("#answer")).to_contain_text("1 in flight, 30 a minute")
        await expect(page.locator("#in-flight")).to_contain_text("/ 1")
        await expect(page.locator("#starts")).to_contain_text("/ 30")
        await page.locator("#pause").click()
        await expect(page.locator("#circuit-more")).to_contain_text("paused until resumed")
        await page.locator("#resume").click()
        await expect(page.locator("#circuit-more")).not_to_contain_text("paused")
        await page.locator("#reset").click()
        await expect(page.locator("#starts")).to_contain_text("/ 240")
        await page.locator("#pace").fill("0.5")
        await page.locator("#set").click()
        assert await page.locator("#pace:invalid").count() == 1


async def test_without_a_token_it_only_shows(chromium, service, site):
    service.environment["DASHBOARD_TOKEN"] = ""
    await submit(service, site.url("/status/404"))
    async with running(service) as (_, origin), looking_at(chromium, origin) as page:
        await expect(page.locator("#parked")).to_contain_text("page_gone")
        await expect(page.locator("#no-controls")).to_be_visible()
        assert await page.locator("button:visible, input:visible").count() == 0


async def test_parked_tasks_are_replayed_and_strangers_text_stays_text(chromium, service, site):
    pages = [{"url": site.url("/status/404"), "task_id": f"{HOSTILE}-{number}"} for number in range(3)]
    await submit(service, *pages, site.url("/private/1"))
    async with running(service) as (_, origin), looking_at(chromium, origin) as page:
        row = page.locator("#parked tr", has_text="page_gone")
        await expect(row.locator(".number")).to_have_text("3")
        await expect(page.locator("#events")).to_contain_text(f"{HOSTILE}-0: parked, page_gone")
        assert await page.locator("img").count() == 0
        await page.locator("#token").fill(TOKEN)
        await row.get_by_role("button", name="Run the tasks parked for page_gone again").click()
        await expect(page.locator("#answer")).to_contain_text("3 tasks are in the queue again")
        await expect(page.locator("#done")).to_contain_text("7 parked")  # 3 + 1, and 3 anew


async def test_it_can_be_used_with_the_keyboard_alone_and_read_aloud(chromium, service, site):
    await submit(service, *[site.url(f"/product/{number}") for number in range(1, 30)])
    async with running(service) as (_, origin), looking_at(chromium, origin) as page:
        await done(page, above=2)
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the charts"
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.id") == "chart-in-flight"
        await page.keyboard.press("End")
        assert re.match(r"\d\d:\d\d:\d\d\s+\d in flight, limit 2", await text(page, "#chart-in-flight-reading"))
        reached = set()
        for _ in range(20):
            await page.keyboard.press("Tab")
            reached.add(await page.evaluate("document.activeElement.id"))
        assert {
            "chart-starts",
            "chart-latency",
            "chart-time",
            "token",
            "pause",
            "resume",
            "max-concurrent",
            "pace",
            "set",
            "reset",
        } <= reached
        assert await page.evaluate("[...document.querySelectorAll('input')].every((each) => each.labels.length === 1)")
        assert await page.evaluate(
            "[...document.querySelectorAll('#charts > figure > svg')].every((each) => each.getAttribute('aria-label').length > 30)"
        )


@pytest.mark.parametrize("how", ["desktop", "dark", "phone"])
async def test_it_fits_and_is_kept_as_a_picture(chromium, service, site, model, how):
    options = {
        "desktop": {},
        "dark": {"color_scheme": "dark"},
        "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
    }
    service.environment["VLLM_CIRCUIT_BREAKER_TIMEOUT"] = "3600"
    await submit(
        service,
        site.url("/status/404"),
        site.url("/private/1"),
        *[site.url(f"/product/{number}") for number in MANY],
    )
    async with running(service) as (_, origin), looking_at(chromium, origin, **options[how]) as page:
        await done(page, above=4)
        model.faults.add(parse_faults("500=6x")[0])
        await expect(page.locator("#events")).to_contain_text("circuit_breaker_opened")
        await expect(page.locator("#circuit-more")).to_contain_text("opened 1×")
        await expect(page.locator("#chart-in-flight .shade")).not_to_have_count(0)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        back = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(15, 21, 19)") == (how == "dark")
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=ARTEFACTS / f"status-page-{how}.png", full_page=True)


async def test_the_dashboard_shows_all_workers_of_the_host(chromium, service, site, tmp_path):
    """Two supervisors and a page that none of them serves."""
    port = service.environment.pop("HTTP_PORT")
    await submit(service, *[site.url(f"/product/{number}") for number in MANY])
    with (
        service.running() as one,
        service.running() as two,
        service.running("dashboard", "--port", port) as page_server,
    ):
        assert f":{port}/" in await asyncio.to_thread(page_server.stderr.readline)
        async with looking_at(chromium, f"http://127.0.0.1:{port}/") as page:
            await expect(page.locator("#workers")).to_contain_text("2 with")
            await done(page, above=2)
        for process in (page_server, one, two):
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            code, log = await ended(process)
            assert code == 0, log


# --- the colours -------------------------------------------------------------------------------------------------------

CSS = (Path(__file__).parent.parent / "scraper" / "observability" / "web" / "status.css").read_text()


def colours():
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    found = [dict(re.findall(r"--([\w-]+): (#\w{6});", part)) for part in (light, light + dark)]
    return list(zip(("light", "dark"), found, strict=True))


def contrast(one, other):
    """As WCAG 2 defines it."""
    bright = sorted(
        sum(
            weight * (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4)
            for weight, part in zip(
                (0.2126, 0.7152, 0.0722), [int(each[at : at + 2], 16) / 255 for at in (1, 3, 5)], strict=True
            )
        )
        for each in (one, other)
    )
    return (bright[1] + 0.05) / (bright[0] + 0.05)


@pytest.mark.parametrize(("mode", "found"), colours())
def test_every_text_stands_out_enough(mode, found):
    for ink in ("ink", "quiet", "good", "warn", "bad"):
        for back in ("card", "back"):
            assert contrast(found[ink], found[back]) >= 4.5, (mode, ink, back)
    assert contrast(found["accent-ink"], found["accent"]) >= 4.5
