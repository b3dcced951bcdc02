"""What a forked child must not inherit: sockets and locks whose closing tells others that their owner is gone."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet


class HasFile(Protocol):
    """An open file or socket; -1 once closed."""

    def fileno(self) -> int: ...


_not_for_children: WeakSet[HasFile] = WeakSet()


def keep_from_children(file: HasFile) -> None:
    """A forked child shall not hold `file` open: its parent's death must be seen by whoever waits for it."""
    _not_for_children.add(file)


def _let_go() -> None:
    """In the child: the descriptors stay taken, because their owners may yet close them, but lead nowhere."""
    if not _not_for_children:
        return
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for file in list(_not_for_children):
        number = file.fileno()
        if number >= 0:
            with suppress(OSError):
                os.dup2(nowhere, number, inheritable=False)
    _not_for_children.clear()
    os.close(nowhere)


os.register_at_fork(after_in_child=_let_go)
