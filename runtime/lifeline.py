"""A child process must not outlive its parent."""

from __future__ import annotations

import os
import select
import threading


def die_with_parent(fd: int) -> None:
    """End this process as soon as the other end of `fd` (a socket or pipe to the parent) is closed,
    which the kernel does when the parent dies, however it dies.

    A thread waits for the hang-up inside poll(2), where it costs nothing. Linux's parent-death
    signal would not do: it fires when the parent's *thread* ends.
    """

    def wait() -> None:
        poll = select.poll()
        poll.register(fd, getattr(select, "POLLRDHUP", select.POLLHUP) | select.POLLHUP)
        poll.poll()
        os._exit(0)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
