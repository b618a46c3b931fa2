import gc
import os
import threading
from collections.abc import Callable
from weakref import ref

from coatcheck.runtime.forks import abandon, after_fork, new_lock


def in_child(work: Callable[[], bool]) -> bool:
    """Whether ``work`` gave True in a forked child, within a minute."""
    child = os.fork()
    if child == 0:
        threading.Timer(60, os._exit, (2,)).start()
        succeeded = False
        try:
            succeeded = work()
        finally:
            os._exit(0 if succeeded else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class _Holder:
    def __init__(self) -> None:
        self.lock = new_lock()
        self.whole = True
        self.renewed = 0
        after_fork(self._renew)

    def _renew(self) -> None:
        self.renewed += 1


def test_child_starts_anew_and_the_parent_goes_on() -> None:
    holder = _Holder()
    assert in_child(lambda: holder.renewed == 1)
    assert holder.renewed == 0
    assert in_child(lambda: in_child(lambda: holder.renewed == 2))


def test_lock_that_another_thread_held_at_the_fork_is_free_in_the_child() -> None:
    holder, held = _Holder(), threading.Event()

    def change() -> None:
        with holder.lock:
            holder.whole = False
            held.set()
            threading.Event().wait(0.05)
            holder.whole = True

    thread = threading.Thread(target=change)
    thread.start()
    held.wait()
    assert in_child(lambda: holder.lock.acquire(timeout=60) and holder.whole)
    thread.join()
    assert holder.lock.acquire(timeout=60)


def test_lock_that_is_held_for_good_does_not_stop_a_fork() -> None:
    holder = _Holder()
    with holder.lock:
        assert in_child(lambda: holder.lock.acquire(timeout=60))
        assert not holder.lock.acquire(blocking=False)


def test_nothing_is_kept_alive() -> None:
    holder = _Holder()
    gone, lock = ref(holder), ref(holder.lock)
    del holder
    gc.collect()
    assert gone() is None
    assert lock() is None
    assert in_child(lambda: True)


def test_what_is_abandoned_is_not_finalised() -> None:
    class Resource:
        pass

    def work() -> bool:
        resource = Resource()
        kept = ref(resource)
        abandon(resource)
        del resource
        gc.collect()
        return kept() is not None

    assert in_child(work)
