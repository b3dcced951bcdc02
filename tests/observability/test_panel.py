"""What the panel shows, drawn into a terminal of a given width and read as text."""

import io

import pytest
from rich.console import Console

from scraper.events import CircuitOpened, LlmRetry, WaitingFor
from scraper.observability.panel import Panel, sparkline
from scraper.observability.view import Queue
from tests.observability.facts import STARTED, answer, received, request, settled
from tests.observability.test_picture import NOW, heard


def busy():
    picture = heard(STARTED, received(), request(), answer(), settled("park", "robots", wait_rate=73.0, generate=27.0))
    heard(
        received("u"),
        request(),
        LlmRetry(1, "500 Internal Server Error", 2.0),
        picture=picture,
        at=NOW + 3,
        task_id="u",
    )
    heard(CircuitOpened(1, 5, 60.0), WaitingFor("broker", "connection refused " * 20, 0.0), picture=picture, at=NOW + 3)
    picture.queue_says(Queue(5, 2, 1), at=NOW)
    return picture.view(NOW + 8)


def drawn(view, width, **terminal):
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, **terminal)
    console.print(Panel("scraper", events=True, console=console).render(view))
    return stream.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_panel_fits_its_terminal_and_shows_every_figure(width):
    text = drawn(busy(), width, no_color=True, color_system=None)
    assert {len(line) for line in text.splitlines()} == {width}
    if width >= 80:
        for figure in (
            "0/2",
            "2/20 in the last 60 s",
            "OPEN, next try in 55 s",
            "p50 3.0 s",
            "1 retry ",
            "robots 1",
            "11% done",
        ):
            assert figure in text, figure
        assert "limited by" in text
        assert "circuit_breaker_opened" in text


@pytest.mark.parametrize("width", range(60, 130, 7))
def test_what_has_no_room_is_left_out_whole(width):
    picture = heard(STARTED, received(), request(), answer(), settled("park", "robots", wait_rate=73.0, generate=27.0))
    picture.queue_says(Queue(5, 2, 1), at=NOW)
    assert "…" not in drawn(picture.view(NOW), width, no_color=True, color_system=None).partition("worker_started")[0]


def test_the_first_line_is_a_bar_of_what_is_done_parked_and_left():
    first = drawn(busy(), 100, no_color=True, color_system=None).splitlines()[1]
    bar = first.split()[1]
    assert (bar.count("█"), bar.count("▓"), len(bar)) == (0, 5, 41)  # one of nine is finished, and that is parked
    assert "11% done, 1 min 04 s left, 1 of 9 tasks, 7.5 a minute" in first


def test_whether_the_gpu_is_idle_busy_or_protected_stands_above_all_figures():
    left_alone = drawn(busy(), 100, no_color=True, color_system=None)
    assert "GPU         ▲ protected: left alone because it fails, next try in 55 s" in left_alone
    idle = drawn(heard(STARTED, request(), answer()).view(NOW + 59), 100, no_color=True, color_system=None)
    assert "GPU         ○ idle, 3% of its 2 slots in use over the last minute" in idle


def test_where_the_time_goes_is_one_bar_with_a_name_to_each_part():
    text = drawn(busy(), 100, no_color=True, color_system=None)
    assert f"time        {'█' * 18}{'▓' * 6}  █ pace 73%  ▓ writing 27%" in text


def test_without_colours_it_says_everything_in_words():
    assert "\x1b[3" not in drawn(busy(), 100, no_color=True)
    assert "▲ OPEN" in drawn(busy(), 100, no_color=True)


def test_before_anything_has_happened_it_shows_that():
    text = drawn(heard().view(NOW), 80, no_color=True, color_system=None)
    assert "limited by  nothing yet" in text


def test_text_of_others_is_never_taken_for_markup():
    picture = heard(WaitingFor("broker", "[bold red]x[/] \x1b[2J", 0.0))
    text = drawn(picture.view(NOW), 100, color_system=None)
    assert "[bold red]x[/]" in text
    assert "\x1b[2J" not in text


def test_a_sparkline_is_as_high_as_its_values():
    assert sparkline([0, 1, 4, 8]) == "·▁▄█"
    assert sparkline([]) == ""


def test_a_note_stands_in_the_panel_at_once_and_stays():
    stream = io.StringIO()
    with Panel("scraper", console=Console(file=stream, width=80, force_terminal=True, no_color=True)) as panel:
        panel.show(busy())
        before = len(stream.getvalue())
        panel.note("finishing 6 tasks")
        assert "finishing 6 tasks" in stream.getvalue()[before:]
        before = len(stream.getvalue())
        panel.show(busy())
        assert "finishing 6 tasks" in stream.getvalue()[before:]


def test_the_cursor_rests_where_a_terminal_can_write_its_ctrl_c_without_a_new_line():
    """Behind the last corner there is no room for ^C: it would go to a line of its own, and the panel be wiped amiss."""
    stream = io.StringIO()
    with Panel("scraper", console=Console(file=stream, width=80, force_terminal=True, no_color=True)) as panel:
        panel.show(busy())
        assert stream.getvalue().endswith("\r")
        panel.log(b"a line")
        assert stream.getvalue().endswith("\r")
