"""Several processes that open a new file at the same moment all get their write-ahead log."""

import multiprocessing
import sqlite3

from scraper.write_ahead import use_write_ahead_log

PROCESSES, FILES = 6, 20


def _open_all(paths, ready, results):
    ready.wait()
    for path in paths:
        connection = sqlite3.connect(path, timeout=20)
        try:
            results.put(use_write_ahead_log(connection, busy_seconds=20))
            connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
        except sqlite3.Error as error:
            results.put(str(error))
        finally:
            connection.close()


def test_the_switch_waits_for_other_processes_that_make_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(PROCESSES), context.Queue()
    paths = [tmp_path / f"{number}.db" for number in range(FILES)]
    processes = [context.Process(target=_open_all, args=(paths, ready, results)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    said = [results.get(timeout=300) for _ in range(PROCESSES * FILES)]
    for process in processes:
        process.join()
    results.close()
    results.join_thread()
    assert set(said) == {True}
