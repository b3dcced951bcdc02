"""What is true of the embedded queue alone: several processes, leases, clocks, and files that go wrong."""

import asyncio
import contextlib
import random
import resource
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from scraper.broker import sqlite_leases
from scraper.broker.sqlite import SqliteBroker
from scraper.broker.sqlite_leases import IDLE_SECONDS, LEASE_SECONDS, RENEW_SECONDS, GivenBack
from scraper.broker.sqlite_queue import ANY_READY, LATEST, NEXT_DUE, PROMOTE, TAKE, QueueFile
from scraper.broker.sqlite_schema import opened
from scraper.database import DatabaseFile
from scraper.errors import DeliveryLost, Misconfigured, Unavailable
from scraper.events import Back, WaitingFor
from scraper.host import Process, boot_clock, pid_namespace, this_process
from scraper.models import Failure
from scraper.ports import Depth, Message
from scraper.sqlite_thread import SqliteThread
from scraper.store.sqlite import SqliteStore
from scraper.testing.clock import VirtualTimeLoop
from tests.broker.conftest import Place
from tests.store.results import done

HANGS_SECONDS = 300.0


class Queue(QueueFile):
    """With a connection of its own, used by the test's thread."""

    def __init__(self, path, *, namespace="scraper", busy_seconds=5.0, **options):
        self.file = DatabaseFile(partial(opened, path, busy_seconds=busy_seconds), path=path)
        super().__init__(self.file, namespace=namespace, **options)

    def close(self):
        self.leave()
        self.file.close()


class Clock:
    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def virtual_time_waits_for_the_file(monkeypatch):
    asked = SqliteThread._asked

    def standing_still(thread, job):
        future = asked(thread, job)
        if isinstance(loop := future.get_loop(), VirtualTimeLoop):
            loop.stand_still_until(future)
        return future

    monkeypatch.setattr(SqliteThread, "_asked", standing_still)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue.db"


@pytest.fixture
def place(path):
    return Place("sqlite", str(path), "scraper")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_queue(path, clock):
    """As many processes' ends of the queue as a test wants, all in this one."""
    opened = []

    def open_one(**options):
        usual = {"clock": clock, "boot": "one", "busy_seconds": 0.05}
        queue = Queue(path, **usual | options)
        queue.open()
        opened.append(queue)
        return queue

    yield open_one
    for queue in opened:
        queue.close()


@pytest.fixture
def owner_is(monkeypatch):
    """Queues opened next belong to this process."""

    def be(process, *, namespace=None):
        monkeypatch.setattr(sqlite_leases, "this_process", lambda: process)
        monkeypatch.setattr(sqlite_leases, "pid_namespace", lambda: namespace or pid_namespace())

    return be


def publish(queue, *bodies):
    queue.publish([Message(body) for body in bodies])


def take(queue, count=1, of="tasks"):
    return queue.take({of: count})


def bodies(taken):
    return [each.message.body for each in taken]


def pass_time(clock, seconds, *, heard_of):
    """Time passes while these owners renew as they should."""
    until = clock.now + seconds
    while clock.now < until:
        clock.now = min(until, clock.now + RENEW_SECONDS)
        for queue in heard_of:
            queue.renew()


# order


def test_high_comes_strictly_before_normal(open_queue):
    queue = open_queue()
    queue.publish([Message(b"n1"), Message(b"h1", priority="high"), Message(b"n2"), Message(b"h2", priority="high")])
    assert bodies(take(queue, 4)) == [b"h1", b"h2", b"n1", b"n2"]


def test_a_moved_message_does_not_wait_behind_new_ones(open_queue, clock):
    queue = open_queue()
    publish(queue, *(b"%d" % number for number in range(100)))
    (first,) = take(queue)
    assert queue.move(first.lease, delay_seconds=5, attempts=1)
    clock.now += 5
    assert bodies(take(queue, 2)) == [b"0", b"1"]


def test_what_is_given_back_keeps_its_place(open_queue):
    queue = open_queue()
    publish(queue, b"a", b"b", b"c")
    first, second = take(queue, 2)
    queue.give_back([GivenBack(second.lease, 1), GivenBack(first.lease, 0)])
    assert [(each.message.body, each.returns) for each in take(queue, 3)] == [(b"a", 0), (b"b", 1), (b"c", 0)]


def test_a_crowd_that_is_due_at_once_is_promoted_little_by_little_and_wholly(open_queue, clock):
    queue = open_queue()
    publish(queue, *(b"%d" % number for number in range(250)))
    for each in take(queue, 250):
        queue.move(each.lease, delay_seconds=60, attempts=1)
    assert take(queue) == []
    clock.now += 60
    received = []
    while taken := take(queue):
        received += bodies(taken)
    assert sorted(received) == sorted(b"%d" % number for number in range(250))


# leases


def test_a_lease_that_is_renewed_holds_for_ever(open_queue, clock):
    worker, other = open_queue(), open_queue()
    publish(worker, b"task")
    (taken,) = take(worker)
    for _ in range(20):
        pass_time(clock, LEASE_SECONDS, heard_of=[worker, other])
        assert take(other) == []
    assert worker.remove(taken.lease)


def test_who_is_silent_for_longer_than_its_lease_loses_everything_in_hand(open_queue, clock):
    frozen, other = open_queue(), open_queue()
    publish(frozen, b"a", b"b")
    held = take(frozen, 2)
    pass_time(clock, LEASE_SECONDS - 0.1, heard_of=[other])
    assert take(other, 2) == []
    pass_time(clock, 1.1, heard_of=[other])
    again = take(other, 2)
    assert [(each.message.body, each.returns) for each in again] == [(b"a", 1), (b"b", 1)]
    assert not frozen.remove(held[0].lease)
    assert not frozen.move(held[1].lease, delay_seconds=5, attempts=9)
    frozen.give_back([GivenBack(each.lease, 1) for each in held])
    frozen.renew()
    assert take(frozen, 2) == []
    assert all(other.remove(each.lease) for each in again)
    assert other.depth().tasks == other.depth().waiting == 0


def test_who_wakes_before_anybody_noticed_keeps_its_lease(open_queue, clock):
    worker = open_queue()
    publish(worker, b"task")
    (taken,) = take(worker)
    clock.now += 10 * LEASE_SECONDS
    worker.renew()
    other = open_queue()
    assert take(other) == []
    assert worker.remove(taken.lease)


def test_who_was_silent_itself_lets_the_others_speak_first(open_queue, clock):
    """The host slept, or a backup held the lock: every lease has run out at the same moment."""
    worker, other = open_queue(), open_queue()
    publish(worker, b"task")
    (taken,) = take(worker)
    clock.now += 8 * 3600
    other.renew()
    assert take(other) == []
    worker.renew()
    pass_time(clock, 2 * LEASE_SECONDS, heard_of=[other, worker])
    assert take(other) == []
    assert worker.remove(taken.lease)


def test_a_token_is_worth_nothing_for_a_later_lease_of_the_same_process(open_queue):
    queue = open_queue()
    publish(queue, b"task")
    (first,) = take(queue)
    queue.give_back([GivenBack(first.lease, 1)])
    (second,) = take(queue)
    assert not queue.remove(first.lease)
    assert queue.depth().in_hand == 1
    assert queue.remove(second.lease)


def test_a_token_is_worth_nothing_for_a_later_message_at_the_same_place(open_queue):
    queue = open_queue()
    publish(queue, b"first")
    (first,) = take(queue)
    assert queue.remove(first.lease)
    publish(queue, b"second")
    (second,) = take(queue)
    assert not queue.remove(first.lease)
    assert queue.remove(second.lease)


def test_what_comes_along_with_an_acknowledgement_is_what_a_take_would_give(open_queue, owner_is, clock):
    worker = open_queue()
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    owner_is(Process(finished.pid, 1))
    gone = open_queue()
    publish(worker, b"in hand", b"of the gone", b"waiting", b"next")
    in_hand, _, waits = take(worker, 1) + take(gone, 1) + take(worker, 1)
    worker.move(waits.lease, delay_seconds=5, attempts=1)
    clock.now += 5
    come = []
    while in_hand is not None:
        removed, in_hand = worker.remove_and_take(in_hand.lease, "tasks")
        assert removed
        come += bodies([in_hand]) if in_hand else []
    assert come == [b"waiting", b"of the gone", b"next"]
    assert worker.depth() == Depth(tasks=0, waiting=0, parked=0, consumers=0, in_hand=0)


def test_a_stale_token_removes_nothing_and_brings_the_next_along(open_queue):
    queue = open_queue()
    publish(queue, b"first", b"second")
    (first,) = take(queue)
    queue.give_back([GivenBack(first.lease, 1)])
    removed, taken = queue.remove_and_take(first.lease, "tasks")
    assert not removed
    assert (taken.message.body, taken.returns) == (b"first", 1)


def test_leases_of_a_process_that_is_gone_are_given_back_within_a_second(open_queue, owner_is, clock):
    other = open_queue()
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    owner_is(Process(finished.pid, 1))
    gone = open_queue()
    publish(gone, b"task")
    take(gone)
    clock.now += 1
    assert [(each.message.body, each.returns) for each in take(other)] == [(b"task", 1)]


def test_process_numbers_of_another_container_mean_nothing(open_queue, owner_is, clock):
    owner_is(Process(2**22 + 1, 1), namespace="pid:[1]")
    elsewhere = open_queue()
    owner_is(this_process())
    other = open_queue()
    publish(elsewhere, b"task")
    take(elsewhere)
    pass_time(clock, LEASE_SECONDS - 1, heard_of=[other])
    assert take(other) == []
    pass_time(clock, 2, heard_of=[other])
    assert bodies(take(other)) == [b"task"]


def test_a_frozen_process_of_its_own_learns_that_it_lost(place):
    async def main():
        ahead = Clock(0.0)
        queue = Queue(Path(place.target), namespace=place.namespace, clock=lambda: boot_clock() + ahead.now)
        queue.open()
        async with place.program("hold") as program:
            publish(queue, b"task")
            assert await asyncio.wait_for(program.stdout.readline(), HANGS_SECONDS) == b"holding\n"
            program.send_signal(signal.SIGSTOP)
            pass_time(ahead, LEASE_SECONDS + 1, heard_of=[queue])
            (taken,) = take(queue)
            program.send_signal(signal.SIGCONT)
            program.stdin.write(b"\n")
            assert await asyncio.wait_for(program.stdout.readline(), HANGS_SECONDS) == b"lost\n"
        assert queue.remove(taken.lease)
        queue.close()

    asyncio.run(main())


async def test_a_stalled_event_loop_loses_its_leases(path, clock, open_queue):
    """A worker that hangs must not keep its message for ever: renewals come from where the work is done."""
    other = open_queue()
    async with (
        SqliteBroker(path, namespace="scraper", clock=clock, boot="one") as broker,
        broker.consumer() as consumer,
    ):
        await broker.publish([Message(b"task")])
        delivery = await consumer.receive()
        pass_time(clock, LEASE_SECONDS + 1, heard_of=[other])  # and not a single await
        assert bodies(take(other)) == [b"task"]
        with pytest.raises(DeliveryLost):
            await delivery.ack()


# clocks


def test_after_a_restart_of_the_host_nothing_waits_and_nothing_is_leased(open_queue, clock):
    before = open_queue()
    publish(before, b"waits", b"in hand", b"ready")
    waits, _ = take(before, 2)
    before.move(waits.lease, delay_seconds=3600, attempts=1)
    after = open_queue(clock=Clock(3.0), boot="two")
    assert [(each.message.body, each.returns) for each in take(after, 3)] == [
        (b"waits", 0),
        (b"in hand", 1),
        (b"ready", 0),
    ]


def test_delays_of_the_new_start_are_kept_and_shared(open_queue, clock):
    before = open_queue()
    publish(before, b"task")
    before.move(take(before)[0].lease, delay_seconds=3600, attempts=1)
    later = Clock(3.0)
    one, two = (open_queue(clock=later, boot="two") for _ in range(2))
    one.move(take(one)[0].lease, delay_seconds=60, attempts=2)
    later.now += 59
    assert take(two) == take(one) == []
    later.now += 1
    assert bodies(take(two)) == [b"task"]


def test_a_restart_shows_even_where_the_system_does_not_tell(open_queue, clock):
    clock.now = 1e6
    before = open_queue(boot="")
    publish(before, b"waits")
    before.move(take(before)[0].lease, delay_seconds=3600, attempts=1)
    after = open_queue(clock=Clock(3.0), boot="")
    assert bodies(take(after)) == [b"waits"]


def test_another_start_of_the_program_releases_nothing_early(open_queue, clock):
    before = open_queue()
    publish(before, b"task")
    before.move(take(before)[0].lease, delay_seconds=3600, attempts=1)
    clock.now += 3599
    assert take(open_queue()) == []


# many processes


async def test_many_processes_take_each_message_exactly_once(place):
    wanted = [b"%d" % number for number in range(400)]

    async def drain():
        async with place.program("drain") as program:
            output, _ = await asyncio.wait_for(program.communicate(), HANGS_SECONDS)
            return output.split()

    async with place.broker() as broker:
        await broker.publish([Message(body) for body in wanted])
        received = await asyncio.gather(*(drain() for _ in range(4)))
        assert sorted(body for each in received for body in each) == sorted(wanted)
        assert (await broker.depth()).tasks == 0


async def test_processes_killed_in_the_middle_of_their_work_lose_nothing(place):
    wanted = {b"%d" % number for number in range(300)}
    rng = random.Random(11)
    received = set()

    async def work():
        """Take a few messages, die, start anew."""
        while (depth := await broker.depth()).tasks or depth.in_hand:
            async with place.program("drain") as program:
                for _ in range(rng.randrange(20, 60)):
                    line = await asyncio.wait_for(program.stdout.readline(), HANGS_SECONDS)
                    received.add(line.strip())
                with contextlib.suppress(ProcessLookupError):
                    program.kill()
                received.update((await program.stdout.read()).split())

    async with place.broker() as broker:
        await broker.publish([Message(body) for body in wanted])
        await asyncio.gather(work(), work())
        assert received - {b""} == wanted
        async with asyncio.timeout(HANGS_SECONDS):
            while (await broker.depth()).consumers:  # noqa: ASYNC110 those of the killed, until somebody has looked
                await asyncio.sleep(0.05)
        assert await broker.depth() == Depth(tasks=0, waiting=0, parked=0, consumers=0, in_hand=0)


async def test_many_processes_may_create_the_file_at_once(place):
    async with place.program("drain") as one, place.program("drain") as two, place.program("drain") as three:
        for program in (one, two, three):
            await asyncio.wait_for(program.communicate(), HANGS_SECONDS)
            assert program.returncode == 0


async def test_a_message_of_another_process_wakes_an_idle_consumer(place, open_queue):
    async with place.broker() as broker, broker.consumer() as consumer:
        waiting = asyncio.create_task(consumer.receive())
        await asyncio.sleep(0.05)
        publish(open_queue(clock=boot_clock, boot=None, busy_seconds=HANGS_SECONDS), b"task")
        assert (await asyncio.wait_for(waiting, HANGS_SECONDS)).message.body == b"task"


async def test_consumers_are_counted_over_all_processes(place):
    async with place.broker() as broker, broker.consumer(), broker.consumer(), broker.consumer("parked"):
        async with place.broker() as other, other.consumer():
            assert (await broker.depth()).consumers == (await other.depth()).consumers == 3
        assert (await broker.depth()).consumers == 2
    async with place.broker() as broker:
        assert (await broker.depth()).consumers == 0


def test_consumers_of_a_process_that_is_gone_are_not_counted(open_queue, owner_is):
    owner_is(Process(2**22 + 1, 1))
    open_queue().count_consumers(3)
    owner_is(this_process())
    assert open_queue().depth().consumers == 0


def test_an_idle_consumer_goes_on_counting(open_queue, clock):
    idle, other = open_queue(), open_queue()
    idle.count_consumers(1)
    pass_time(clock, 10 * IDLE_SECONDS, heard_of=[idle, other])
    take(other)
    assert other.depth().consumers == 1


# the event loop's side, in virtual time


@pytest.mark.virtual_time
async def test_leases_are_renewed_while_the_work_takes_long(path):
    loop = asyncio.get_running_loop()
    options = {"namespace": "scraper", "clock": loop.time, "boot": "one"}
    async with SqliteBroker(path, **options) as worker, SqliteBroker(path, **options) as other:
        await worker.publish([Message(b"task")])
        async with worker.consumer() as consumer, other.consumer() as rival:
            delivery = await consumer.receive()
            waiting = asyncio.create_task(rival.receive())
            await asyncio.sleep(20 * LEASE_SECONDS)
            assert not waiting.done()
            await delivery.ack()
            waiting.cancel()
            await asyncio.wait([waiting])


@pytest.mark.virtual_time
async def test_a_delay_is_kept_to_the_next_look(path):
    loop = asyncio.get_running_loop()
    async with (
        SqliteBroker(path, namespace="scraper", clock=loop.time, boot="one") as broker,
        broker.consumer() as consumer,
    ):
        await broker.publish([Message(b"task")])
        await (await consumer.receive()).move(delay_seconds=301, attempts=1)
        moved_at = loop.time()
        await consumer.receive()
        assert 900 <= loop.time() - moved_at <= 900.3


async def test_cancelled_receives_lose_nothing_at_any_moment(place):
    rng = random.Random(3)
    async with place.broker() as broker:
        await broker.publish([Message(b"%d" % number) for number in range(50)])
        received = []
        async with broker.consumer() as consumer:
            while len(received) < 50:
                waiting = asyncio.create_task(consumer.receive())
                for _ in range(rng.randrange(12)):
                    await asyncio.sleep(rng.choice([0, 0, 0.0003]))
                waiting.cancel()
                await asyncio.wait([waiting])
                if not waiting.cancelled():
                    assert waiting.result().returns == 0
                    received.append(waiting.result().message.body)
                    await waiting.result().ack()
        assert sorted(received) == sorted(b"%d" % number for number in range(50))


async def test_who_acknowledges_has_the_next_message_in_hand(place, open_queue):
    async with SqliteBroker(place.target, namespace="scraper") as broker, broker.consumer() as consumer:
        await broker.publish([Message(b"first"), Message(b"second")])
        await (await consumer.receive()).ack()
        depth = await broker.depth()
        assert (depth.tasks, depth.in_hand) == (0, 1)
        assert (await consumer.receive()).message.body == b"second"


async def test_what_came_along_for_nobody_goes_back_as_if_nobody_had_seen_it(place):
    async with SqliteBroker(place.target, namespace="scraper") as broker:
        await broker.publish([Message(b"first"), Message(b"second")])
        async with broker.consumer() as consumer:
            await (await consumer.receive()).ack()
            await consumer.stop()
        async with broker.consumer() as other:
            delivery = await other.receive()
            assert (delivery.message.body, delivery.returns) == (b"second", 0)


async def test_a_cancelled_acknowledgement_keeps_nothing_from_others(place):
    draw = random.Random(7)
    async with SqliteBroker(place.target, namespace="scraper") as broker:
        await broker.publish([Message(b"%d" % number) for number in range(40)])
        for _ in range(20):
            async with broker.consumer() as consumer:
                acknowledging = asyncio.create_task((await consumer.receive()).ack())
                for _ in range(draw.randint(0, 6)):
                    await asyncio.sleep(0)
                acknowledging.cancel()
                await asyncio.wait([acknowledging])
        depth = await broker.depth()
        async with asyncio.timeout(HANGS_SECONDS):
            while depth.in_hand:  # what an acknowledgement brought along after its consumer was closed
                await asyncio.sleep(0.01)
                depth = await broker.depth()
        assert 20 <= depth.tasks <= 40


async def test_a_message_taken_for_somebody_who_gave_up_goes_to_the_next_in_line(place):
    async with place.broker() as broker, broker.consumer() as first, broker.consumer() as second:
        leaving, staying = asyncio.create_task(first.receive()), asyncio.create_task(second.receive())
        await asyncio.sleep(0.01)
        await broker.publish([Message(b"task")])
        while not leaving.done() and not staying.done():
            await asyncio.sleep(0)
            leaving.cancel()
        delivery = await asyncio.wait_for(staying, HANGS_SECONDS)
        assert (delivery.message.body, delivery.returns) == (b"task", 0)


async def test_who_gives_up_in_the_very_moment_of_being_served_keeps_nothing(place, monkeypatch):
    async with SqliteBroker(place.target, namespace="scraper") as broker, broker.consumer() as consumer:
        leaving = asyncio.create_task(consumer.receive())
        hand_over = broker.hand_over

        def served_and_cancelled(taken):
            hand_over(taken)
            leaving.cancel()

        monkeypatch.setattr(broker, "hand_over", served_and_cancelled)
        await broker.publish([Message(b"task")])
        await asyncio.wait([leaving])
        assert leaving.cancelled()
        delivery = await asyncio.wait_for(consumer.receive(), HANGS_SECONDS)
        assert (delivery.message.body, delivery.returns) == (b"task", 0)


async def test_leaving_the_broker_ends_its_receives_and_its_thread(place):
    async with place.broker() as broker, broker.consumer() as consumer:
        waiting = asyncio.create_task(consumer.receive())
        await asyncio.sleep(0.01)
        await broker.__aexit__()
        with pytest.raises(Unavailable, match="closed"):
            await waiting
        with pytest.raises(Unavailable, match="closed"):
            await broker.depth()
        with pytest.raises(Unavailable, match="closed"):
            await consumer.receive()


# trouble


def refused(path):
    with pytest.raises(Misconfigured) as error:
        Queue(path).open()
    assert str(path) in str(error.value)
    assert "BROKER_URL" in str(error.value)
    return str(error.value)


def test_a_database_of_a_newer_version_is_refused_and_left_alone(path, open_queue):
    open_queue().close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE queue_meta SET value = 99 WHERE key = 'schema_version'")
    connection.close()
    assert "newer scraper (queue version 99" in refused(path)


def test_a_queue_of_version_1_keeps_its_messages_and_learns_the_rest(path, open_queue):
    """The file was written by version 1 itself: a high message with attempts, and a plain one."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent / "version_1.sql").read_text())
    queue = open_queue()
    assert queue.depth().tasks == 2
    first, second = take(queue, 2)
    assert first.message == Message(b'{"url": "https://a.example/"}', "first", 2, 7, "high")
    assert second.message == Message(b"second")
    trail = (Failure(1, "HTTP 502", datetime(2026, 5, 4, tzinfo=UTC)),)
    queue.move(first.lease, delay_seconds=0, attempts=3, trail=trail)
    (again,) = take(queue)
    assert again.message.trail == trail
    assert open_queue().depth() == queue.depth()  # and a second opening finds nothing to do


@pytest.mark.parametrize("content", [b"<html>not a database</html>" * 200, b"x"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path, content):
    path.write_bytes(content)
    assert "not an SQLite database" in refused(path)
    assert path.read_bytes() == content


def test_a_folder_in_place_of_the_file_is_refused(path):
    path.mkdir()
    assert "folder" in refused(path)


def test_a_folder_that_cannot_be_made_is_refused(path):
    path.write_bytes(b"")
    refused(path / "data" / "queue.db")


def test_a_place_where_nothing_can_be_written_is_refused():
    refused(Path("/proc/queue.db"))


def test_folders_on_the_way_are_made(tmp_path):
    queue = Queue(tmp_path / "a" / "b" / "queue.db")
    queue.open()
    publish(queue, b"task")
    queue.close()


def test_an_empty_file_becomes_a_queue(path, open_queue):
    path.write_bytes(b"")
    publish(open_queue(), b"task")


def test_the_queue_leaves_the_tables_of_others_alone(path, open_queue):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE results (task_id)")
        connection.execute("INSERT INTO results VALUES ('a')")
    queue = open_queue()
    publish(queue, b"task")
    take(queue)
    assert connection.execute("SELECT * FROM results").fetchall() == [("a",)]
    connection.close()


@pytest.fixture
def lock(path):
    """Locks and unlocks the file as another program may."""
    connection = sqlite3.connect(path, isolation_level=None)
    yield lambda what: connection.execute({"lock": "BEGIN IMMEDIATE", "unlock": "ROLLBACK"}[what])
    connection.close()


def test_a_locked_file_is_unavailable_and_nothing_is_half_done(open_queue, lock):
    queue = open_queue()
    publish(queue, b"a")
    (taken,) = take(queue)
    lock("lock")
    for attempt in (
        lambda: publish(queue, b"b", b"c"),
        lambda: queue.remove(taken.lease),
        lambda: queue.move(taken.lease, delay_seconds=5, attempts=1),
        lambda: queue.give_back([GivenBack(taken.lease, 1)]),
        queue.renew,
    ):
        with pytest.raises(Unavailable, match="locked"):
            attempt()
    lock("unlock")
    assert (queue.depth().tasks, queue.depth().waiting, queue.depth().in_hand) == (0, 0, 1)
    assert queue.remove(taken.lease)


def test_a_file_that_is_locked_at_start_is_unavailable(open_queue, lock):
    open_queue()
    lock("lock")
    with pytest.raises(Unavailable, match="locked"):
        open_queue()


def test_a_full_disk_is_unavailable_and_nothing_is_half_done(open_queue, path):
    queue = open_queue()
    publish(queue, b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(Unavailable):
            publish(queue, b"small", b"x" * (8 << 20))
        assert queue.depth().tasks == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    publish(queue, b"after")
    assert bodies(take(queue, 5)) == [b"before", b"after"]


def test_a_file_that_was_deleted_takes_nothing_more(open_queue, path):
    queue = open_queue()
    path.unlink()
    with pytest.raises(Unavailable, match=r"queue\.db"):
        publish(queue, b"task")
    open_queue()
    with pytest.raises(Unavailable, match="replaced"):
        publish(queue, b"task")


@pytest.mark.virtual_time
async def test_receiving_waits_while_the_file_is_locked_and_says_so(path, lock):
    events = []
    async with (
        SqliteBroker(path, namespace="scraper", observe=events.append, busy_seconds=0.01) as broker,
        broker.consumer() as consumer,
    ):
        await broker.publish([Message(b"task")])
        lock("lock")
        waiting = asyncio.create_task(consumer.receive())
        await asyncio.sleep(100)
        assert not waiting.done()
        assert [type(event) for event in events] == [WaitingFor] * len(events)
        assert 3 <= len(events) <= 5
        assert all(event.what == "broker" and "locked" in event.error for event in events)
        lock("unlock")
        assert (await waiting).message.body == b"task"
        assert isinstance(events[-1], Back)


async def test_waiting_for_a_locked_file_keeps_the_event_loop_free(path, lock):
    async with SqliteBroker(path, namespace="test", busy_seconds=HANGS_SECONDS) as broker:
        lock("lock")
        publishing = asyncio.create_task(broker.publish([Message(b"a")]))
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert not publishing.done()
        lock("unlock")
        await publishing
        assert (await broker.depth()).tasks == 1


@pytest.mark.virtual_time
async def test_what_could_not_be_given_back_at_once_is_given_back_later(path, lock):
    async with SqliteBroker(path, namespace="scraper", busy_seconds=0.01) as broker:
        await broker.publish([Message(b"task")])
        async with broker.consumer() as consumer:
            await consumer.receive()
            lock("lock")
        await asyncio.sleep(1)
        lock("unlock")
        async with broker.consumer() as consumer:
            delivery = await consumer.receive()
            assert (delivery.message.body, delivery.returns) == (b"task", 1)


@pytest.mark.virtual_time
async def test_settling_can_be_tried_again_after_the_file_was_locked(path, lock):
    async with SqliteBroker(path, namespace="scraper", busy_seconds=0.01) as broker, broker.consumer() as consumer:
        await broker.publish([Message(b"task")])
        delivery = await consumer.receive()
        lock("lock")
        with pytest.raises(Unavailable):
            await delivery.ack()
        lock("unlock")
        await delivery.ack()
        assert (await broker.depth()).tasks == 0


# in one file with the results


@pytest.fixture
async def in_one_file(path):
    async with (
        SqliteStore(path, acks_follow=True) as store,
        SqliteBroker(path, namespace="scraper", thread=store.thread) as broker,
    ):
        yield store, broker


async def levels(store, *steps):
    """What each of `steps` leaves for SQLite's `synchronous`: 2 is on the disk, 1 may be lost with power."""
    found = []
    for number, step in enumerate(steps):
        await step()
        level = (
            f"PRAGMA synchronous -- {number}"  # a text of its own: SQLite answers an old one from when it was prepared
        )
        found.append(await store.thread.read(lambda db, level=level: db.execute(level).fetchone()[0]))
    return found


async def test_the_ack_takes_the_result_to_the_disk(in_one_file):
    store, broker = in_one_file
    await broker.publish([Message(b"task")])
    async with broker.consumer() as consumer:
        delivery = await consumer.receive()
        assert await levels(store, lambda: store.save(done("task")), delivery.ack) == [1, 2]
    assert await levels(store, lambda: store.submitted(["another"])) == [2]


async def test_a_result_whose_ack_goes_elsewhere_is_on_the_disk_at_once(path):
    async with SqliteStore(path) as store:
        assert await levels(store, lambda: store.save(done("task"))) == [2]


async def test_a_queue_in_the_file_of_the_results_leaves_that_open_and_a_later_one_finds_its_messages(path):
    async with SqliteStore(path, acks_follow=True) as store:
        for bodies_in in ([b"a"], [b"b"]):
            async with SqliteBroker(path, namespace="scraper", thread=store.thread) as broker:
                await broker.publish([Message(body) for body in bodies_in])
            await store.save(done(str(bodies_in)))
        async with SqliteBroker(path, namespace="scraper") as other:
            assert (await other.depth()).tasks == 2
        assert (await store.counts()) == {("done", None): 2}


async def test_where_another_file_takes_the_place_results_go_on_in_it_and_messages_wait_for_a_restart(
    in_one_file, path
):
    store, broker = in_one_file
    await broker.publish([Message(b"task")])
    path.rename(path.with_suffix(".old"))
    with pytest.raises(Unavailable, match=r"queue\.db is away"):
        await broker.publish([Message(b"lost")])
    assert not path.exists()
    await store.save(done("task"))
    with pytest.raises(Unavailable, match="replaced"):
        await broker.publish([Message(b"lost")])
    assert (await store.counts()) == {("done", None): 1}


async def test_messages_are_found_after_the_results_had_to_open_the_file_anew(in_one_file):
    store, broker = in_one_file

    def damaged(_):
        error = sqlite3.DatabaseError("as if a block could not be read")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    await broker.publish([Message(b"task")])
    with pytest.raises(Unavailable, match="input/output"):
        await store.thread.read(damaged)
    async with broker.consumer() as consumer:
        delivery = await asyncio.wait_for(consumer.receive(), HANGS_SECONDS)
        await delivery.ack()
    assert (await broker.depth()).tasks == 0


# cost


def filled(queue, path, rows):
    """`rows` messages, half of them waiting, without the time that publishing them would take."""
    publish(queue, b"first")
    with sqlite3.connect(path) as connection:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO queue_messages (id, queue, state, urgency, attempts, submission, due, task_id)"
            " SELECT i, (SELECT queue FROM queue_messages WHERE id = 1), i % 2, 1, 0, 0, CASE i % 2 WHEN 1 THEN 1e9 + i END, '' FROM n",
            (rows,),
        )
        connection.execute("INSERT INTO queue_bodies SELECT id, 'body' FROM queue_messages WHERE id > 1")
    connection.close()


def steps(queue, work):
    """Steps of SQLite's virtual machine that `work` takes: a measure that no machine's speed is in."""
    count = 0

    def step():
        nonlocal count
        count += 1

    connection = queue.file.connection()
    connection.set_progress_handler(step, 1)
    work()
    connection.set_progress_handler(None, 1)
    return count


def test_nothing_costs_more_with_a_long_queue_than_with_a_short_one(tmp_path, clock):
    costs = []
    for rows in (1_000, 200_000):
        path = tmp_path / f"{rows}.db"
        queue = Queue(path, clock=clock, boot="one")
        queue.open()
        filled(queue, path, rows)
        cost = {}
        taken = []
        cost["take"] = steps(queue, lambda: taken.extend(take(queue, 2)))  # noqa: B023 called at once
        cost["remove"] = steps(queue, lambda: queue.remove(taken[0].lease))  # noqa: B023 called at once
        cost["move"] = steps(queue, lambda: queue.move(taken[1].lease, delay_seconds=5, attempts=1))  # noqa: B023 called at once
        clock.now += 5
        cost["promote and take"] = steps(queue, lambda: take(queue))  # noqa: B023 called at once
        cost["publish"] = steps(queue, lambda: publish(queue, b"new"))  # noqa: B023 called at once
        cost["renew"] = steps(queue, queue.renew)
        cost["depth"] = steps(queue, queue.depth)
        assert queue.depth().tasks + queue.depth().in_hand == rows // 2 + 1
        queue.close()
        costs.append(cost)
    short, long = costs
    assert long == pytest.approx(short, abs=20)


@pytest.mark.parametrize(
    ("statement", "arguments", "index"),
    [
        (TAKE, (1, 1), "queue_ready"),
        (ANY_READY, (1,), "queue_ready"),
        (PROMOTE, (1.0, 1), "queue_waiting"),
        (NEXT_DUE, (), "queue_waiting"),
        (LATEST, (), "queue_waiting"),
        (sqlite_leases.HELD, (b"",), "queue_leased"),
    ],
)
def test_every_search_goes_through_its_index_and_sorts_nothing(path, open_queue, statement, arguments, index):
    open_queue()
    connection = sqlite3.connect(path)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", arguments)]
    connection.close()
    assert any(index in line for line in plan)
    assert not any(line.startswith(("SCAN m", "SCAN b")) or "TEMP B-TREE" in line for line in plan)


def test_a_look_while_nothing_changes_takes_next_to_no_steps(open_queue):
    queue = open_queue()
    take(queue)
    assert steps(queue, lambda: take(queue)) < 10


def test_acknowledged_messages_leave_their_space_to_new_ones(open_queue, path):
    queue = open_queue()
    sizes = []
    for _ in range(3):
        publish(queue, *([b"x" * 50_000] * 20))
        for each in take(queue, 20):
            queue.remove(each.lease)
        with sqlite3.connect(path) as connection:
            sizes.append(connection.execute("PRAGMA page_count").fetchone()[0])
        connection.close()
    assert sizes[0] == sizes[1] == sizes[2]


def test_publishing_and_settling_reach_the_disk_and_taking_need_not(open_queue):
    queue = open_queue()

    def level():
        return queue.file.connection().execute(f"PRAGMA synchronous -- {random.random()}").fetchone()[0]

    full, normal = 2, 1
    publish(queue, b"a", b"b")
    assert level() == full
    for settle in (queue.remove, lambda lease: queue.move(lease, delay_seconds=5, attempts=1)):
        (taken,) = take(queue)
        assert level() == normal
        settle(taken.lease)
        assert level() == full


def write_from_outside(path, statement, *values):
    """As any program may that opens the file."""
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute(statement, values)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("attempts", value) for value in ("four", -5, 1e19, (1 << 63) - 1, b"\xff")),
        *(("submission", value) for value in ("x", -1, (1 << 63) - 1)),
        *(("returns", value) for value in ("x", -1)),
        *(("task_id", value) for value in (b"\xff\x00", b"")),
        *(("stored_page", value) for value in ("yes", b"\x01", 7)),
        *(("trail", value) for value in (b"\xff", "[[", "7")),
        ("traceparent", b"\xff"),
    ],
)
def test_what_another_program_wrote_beside_a_body_counts_as_absent_where_it_makes_no_sense(
    open_queue, path, column, value
):
    """By SQL anything can be written anywhere. One such row had every worker end that took it, again and again."""
    queue = open_queue()
    queue.publish([Message(b"body", "" if column == "task_id" else "id")])
    write_from_outside(path, f"UPDATE queue_messages SET {column} = ?", value)
    [taken] = queue.take({"tasks": 1})
    assert (taken.message, taken.returns) == (Message(b"body", "" if column == "task_id" else "id"), 0)
    assert queue.remove(taken.lease)


def test_a_body_that_another_program_wrote_as_text_is_its_bytes(open_queue, path):
    queue = open_queue()
    queue.publish([Message(b"body")])
    write_from_outside(path, 'UPDATE queue_bodies SET body = \'{"text": "für"}\'')
    [taken] = queue.take({"tasks": 1})
    assert taken.message.body == '{"text": "für"}'.encode()


@pytest.mark.parametrize("column", ["task_id", "attempts", "trail", "traceparent"])
def test_a_text_of_another_program_that_is_no_utf_8_keeps_nobody_from_the_messages(open_queue, path, column):
    """It is found only as a row is read, and would be read first again and again."""
    queue = open_queue()
    queue.publish([Message(b"first"), Message(b"second")])
    write_from_outside(path, f"UPDATE queue_messages SET {column} = CAST(x'66fc72' AS TEXT)")
    assert [taken.message for taken in queue.take({"tasks": 2})] == [Message(b"first"), Message(b"second")]


def test_a_body_in_another_encoding_is_its_bytes_too(open_queue, path):
    queue = open_queue()
    queue.publish([Message(b"body")])
    write_from_outside(path, "UPDATE queue_bodies SET body = CAST(x'66fc72' AS TEXT)")
    [taken] = queue.take({"tasks": 1})
    assert taken.message.body == "für".encode("latin-1")
