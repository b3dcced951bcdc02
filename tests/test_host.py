"""Which process is which, and whether it still runs."""

import os
import subprocess
import sys

from scraper.host import Process, boot_clock, boot_id, parent_in_group, process_of, this_process


def test_a_running_process_is_not_gone():
    assert this_process().is_visible
    assert not this_process().is_gone()


def test_a_later_process_with_the_same_number_is_another():
    me = this_process()
    assert Process(me.pid, me.started - 1).is_gone()


def test_a_process_that_is_dead_but_not_yet_waited_for_is_gone():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        it = process_of(process.pid)
        assert not it.is_gone()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert it.is_gone()
        assert not process_of(process.pid).is_visible


def test_a_process_that_was_waited_for_is_gone_even_if_its_start_is_unknown():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert Process(process.pid, 0).is_gone()


def test_a_process_that_cannot_be_seen_is_never_gone():
    assert not Process(0, 0).is_gone()


def test_without_a_proc_file_system_a_running_process_is_still_not_gone(monkeypatch, tmp_path):
    me = this_process()
    monkeypatch.setattr("scraper.host._PROC", tmp_path)
    assert not me.is_gone()
    assert this_process() == Process(os.getpid(), 0)
    assert boot_id() == ""


def test_the_clock_goes_forward():
    before = boot_clock()
    assert before <= boot_clock()


def test_a_parent_is_one_of_the_same_group_and_nobody_who_adopted_an_orphan():
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert parent_in_group(child.pid) == os.getpid()
        child.communicate(b"\n")
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as apart:
        assert parent_in_group(apart.pid) is None
        apart.communicate(b"\n")
    assert parent_in_group(child.pid) is None
