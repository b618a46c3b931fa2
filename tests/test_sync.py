"""The synchronous faces: what they cover, where they work, and on a real S3 server how they end."""

import asyncio
import inspect
import json
import multiprocessing
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from coatcheck import (
    Chain,
    Checkpoints,
    ConfigError,
    Encrypt,
    Key,
    Keyring,
    KeySource,
    KeyUnavailable,
    MemoryStore,
    Offload,
    PayloadCache,
    PayloadNotFound,
    Scope,
    SyncChain,
    SyncCheckpoints,
    TenantKeys,
    Zstd,
)
from coatcheck.keys.lease import current_lease
from coatcheck.sync import SyncFace
from tests.chains import KEY, SCOPE, encrypted_chain
from tests.engines.fault_proxy import Fault, FaultProxy, Request
from tests.engines.seaweed import S3Server
from tests.patience import run_for_at_most
from tests.runtime.test_forks import in_child
from tests.security.test_cancellation import LocalKms
from tests.stores.s3_fixtures import REGION, Bucket, NewStore
from tests.sync_process import there_and_back

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

OWN_FORM = {"holding_keys"}
"""Not to be awaited: a block of its own on either face."""


def random(size: int = 100_000) -> bytes:
    return secrets.token_bytes(size)


@pytest.mark.parametrize(("subject", "face"), [(Chain, SyncChain), (Checkpoints, SyncCheckpoints)])
def test_every_asynchronous_method_has_a_synchronous_one_of_its_name_arguments_and_words(
    subject: type, face: type[SyncFace[Any]]
) -> None:
    awaited = {
        name: method
        for name, method in inspect.getmembers(subject, inspect.isfunction)
        if not name.startswith("_")
        and name not in OWN_FORM
        and (
            inspect.iscoroutinefunction(method)
            or inspect.isasyncgenfunction(method)
            or "AsyncIterator" in str(method.__annotations__["return"])
        )
    }
    assert len(awaited) > 5
    offered = {name: getattr(face, name) for name in vars(face) if not name.startswith("_")}
    assert offered.keys() - OWN_FORM == awaited.keys()
    for name, method in awaited.items():
        assert inspect.signature(offered[name]) == inspect.signature(method), name
        assert offered[name].__doc__ == method.__doc__, name
        assert not inspect.iscoroutinefunction(inspect.unwrap(offered[name], stop=lambda _: True)), name


def test_all_verbs_of_a_chain() -> None:
    chain = encrypted_chain()
    sync, small, large = chain.sync, b"small", random()
    for data in (small, large):
        journal = sync.encode(data, SCOPE)
        assert (
            asyncio.run(chain.decode(journal, SCOPE))
            == sync.decode(journal, SCOPE)
            == sync.open(journal, SCOPE)
        )
        assert sync.decode(journal, SCOPE) == data
    reference = sync.put(small, SCOPE)
    assert sync.open_reference(reference, SCOPE) == small
    assert sync.decode(sync.encode(large, SCOPE, inline=True), SCOPE) == large
    sync.replaying(SCOPE)
    sync.load_keys(SCOPE.tenant)
    sync.close()
    assert repr(sync) == f"{chain!r}.sync"


def test_errors_are_those_of_the_chain() -> None:
    chain = encrypted_chain()
    journal = chain.sync.encode(random(), SCOPE)
    with pytest.raises(PayloadNotFound) as gone:
        Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(MemoryStore()), cache=PayloadCache(0)).sync.decode(
            journal, SCOPE
        )
    assert gone.value.object_id
    with pytest.raises(ConfigError, match="decode_only"):
        Chain(Zstd(), decode_only=True).sync.put(b"", SCOPE)


class _Slow(KeySource):
    """Keys of a third party, which uses the event loop at once."""

    loads = True

    def __init__(self) -> None:
        self.asked = 0
        self._loaded = False

    async def load_primary(self, tenant: str) -> None:
        self.asked += 1
        await asyncio.sleep(0.001)
        self._loaded = True

    async def load(self, tenant: str, key_id: bytes) -> None:
        await self.load_primary(tenant)

    async def load_all(self, tenant: str) -> None:
        await self.load_primary(tenant)

    def primary_key_id(self, tenant: str) -> bytes:
        if not self._loaded:
            raise KeyUnavailable("it was not loaded", "Load it.")
        return KEY.id

    def key_ids(self, tenant: str) -> tuple[bytes, ...]:
        return (self.primary_key_id(tenant),)

    def key(self, tenant: str, key_id: bytes) -> Key:
        self.primary_key_id(tenant)
        return KEY


def test_keys_that_others_load_are_loaded_where_there_is_an_event_loop() -> None:
    keys = _Slow()
    chain = Chain(Zstd(), Encrypt(keys), Offload(MemoryStore(), over=256), cache=PayloadCache(0))
    for data in (b"small", random()):
        assert chain.sync.decode(chain.sync.encode(data, SCOPE), SCOPE) == data
    assert keys.asked == 4
    checkpoints = Checkpoints(chain, run="slow").sync
    checkpoints.save({"a": 1}, step=1)
    assert checkpoints.restore() == {"a": 1}


def test_tenant_keys_are_held_for_a_block() -> None:
    chain = Chain(
        Zstd(), Encrypt(TenantKeys(MemoryStore(), LocalKms("first"), label="test")), cache=PayloadCache(0)
    )
    sync = chain.sync
    with sync.holding_keys("tenant"):
        outer = current_lease()
        assert outer is not None
        with sync.holding_keys("tenant"):
            assert current_lease() is outer
        # What was loaded on the background loop belongs to this block.
        sealed = chain.seal_inline(b"at once", Scope("tenant"))
        assert sync.decode(sealed, Scope("tenant")) == b"at once"
    assert current_lease() is None
    with pytest.raises(ValueError, match="mine"), sync.holding_keys("tenant"):
        raise ValueError("mine")
    assert current_lease() is None


def test_two_chains_of_one_process_share_the_loop_and_nothing_else() -> None:
    one, two = encrypted_chain(), encrypted_chain()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda number: there_and_back((one, two)[number % 2], random()), range(40)))
    journal = one.sync.encode(random(), SCOPE)
    with pytest.raises(PayloadNotFound):
        two.sync.decode(journal, SCOPE)
    one.sync.close()
    assert there_and_back(two, random())


# On a real S3 server


@pytest.fixture
def s3_chain(new_store: NewStore) -> Iterator[Chain]:
    chain = Chain(
        Zstd(), Encrypt(Keyring(KEY)), Offload(new_store(), over=2048, deadline=60), cache=PayloadCache(2**24)
    )
    with closing(chain.sync):
        yield chain


def test_many_threads_use_one_chain(s3_chain: Chain) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda _: there_and_back(s3_chain, random()), range(64)))


def test_a_loop_and_its_synchronous_calls_use_one_chain(s3_chain: Chain) -> None:
    data = random()

    async def use() -> bool:
        journal = await s3_chain.encode(data, SCOPE)
        s3_chain.cache.clear()
        assert s3_chain.sync.decode(journal, SCOPE) == data
        journal = s3_chain.sync.encode(data[1:], SCOPE)
        s3_chain.cache.clear()
        return await s3_chain.decode(journal, SCOPE) == data[1:]

    assert run_for_at_most(60, use)


def test_a_call_that_closes_waited_for_the_loop_that_it_held_up(s3_chain: Chain) -> None:
    """Connections belong to their loop: they are closed once it goes on."""
    data = random()

    async def use() -> bool:
        journal = await s3_chain.encode(data, SCOPE)
        s3_chain.sync.close()
        s3_chain.cache.clear()
        return await s3_chain.decode(journal, SCOPE) == data

    assert run_for_at_most(60, use)


async def test_a_call_in_a_loop_with_64_uploads_under_way_waits_for_none_of_them(
    new_store: NewStore, bucket: Bucket
) -> None:
    """They have all places of the store, and connections that the loop cannot read while it is held up."""
    uploads_seen = 0

    def plan(request: Request) -> Fault:
        nonlocal uploads_seen
        uploads_seen += request.method == "PUT"
        return Fault.SILENT if request.method == "PUT" and uploads_seen <= 64 else Fault.NONE

    async with FaultProxy(bucket.server.endpoint, plan) as proxy:

        async def use() -> bool:
            store = new_store(proxy.endpoint)
            chain = Chain(
                Zstd(), Encrypt(Keyring(KEY)), Offload(store, over=2048, deadline=60), cache=PayloadCache(0)
            )
            uploads = [asyncio.create_task(chain.put(random(20_000), SCOPE)) for _ in range(80)]
            while uploads_seen < 64:  # noqa: ASYNC110 - the proxy counts, in another thread
                await asyncio.sleep(0.01)
            done = there_and_back(chain, random()) and not any(upload.done() for upload in uploads)
            for upload in uploads:
                upload.cancel()
            await asyncio.gather(*uploads, return_exceptions=True)
            await chain.close()
            return done

        assert await asyncio.to_thread(run_for_at_most, 60, use)


def test_forked_children_and_their_parent_go_on(s3_chain: Chain) -> None:
    assert there_and_back(s3_chain, random())
    assert in_child(lambda: there_and_back(s3_chain, random()))
    assert in_child(lambda: in_child(lambda: there_and_back(s3_chain, random())))
    assert there_and_back(s3_chain, random())


_inherited: Chain | None = None


def _in_a_process_of_a_pool(size: int) -> tuple[bool, int]:
    assert _inherited is not None
    return there_and_back(_inherited, random(size)), os.getpid()


def test_forked_processes_of_a_pool(s3_chain: Chain) -> None:
    global _inherited  # noqa: PLW0603 - a forked process has nothing else
    _inherited = s3_chain
    assert there_and_back(s3_chain, random())
    try:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            found = list(pool.map(_in_a_process_of_a_pool, range(50_000, 50_020), timeout=120))
    finally:
        _inherited = None
    assert all(succeeded for succeeded, _ in found)
    assert os.getpid() not in {process for _, process in found}
    assert there_and_back(s3_chain, random())


# In fresh processes


@contextmanager
def process(case: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.sync_process", case],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        cwd=Path(__file__).parent.parent,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def said(case: str, **environment: str) -> list[str]:
    """Return the output of a process that ends by itself, and complains of nothing."""
    with process(case, **environment) as started:
        out, complaints = started.communicate(timeout=60)
        assert _without_slow_steps(complaints) == ""
        assert started.returncode == 0
        return out.splitlines()


def _without_slow_steps(text: str) -> str:
    """All but what asyncio's debugger says of a busy machine."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("Executing <"))


@pytest.mark.parametrize("where", ["s3", "file", "memory"])
def test_exit_without_close(
    where: str, s3_server: S3Server, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    environment = {"STORE": ""}
    if where == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        environment = {
            "AWS_ACCESS_KEY_ID": s3_server.access_key,
            "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
            "STORE": f"s3://{bucket.name}/{tmp_path.name}?endpoint_url={s3_server.endpoint}&region={REGION}",
        }
    elif where == "file":
        environment = {"STORE": f"file://{tmp_path}/objects"}
    assert said("ends_without_close", **environment) == ["True"]


def test_exit_while_a_daemon_thread_waits() -> None:
    with process("ends_while_a_thread_waits") as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "begun\n"
        started.send_signal(signal.SIGUSR1)
        out, complaints = started.communicate(timeout=30)
        assert (out, _without_slow_steps(complaints), started.returncode) == ("cancelled\n", "", 0)


def test_an_interrupt_cancels_the_work_and_the_process_can_go_on() -> None:
    with process("is_interrupted") as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "begun\n"
        started.send_signal(signal.SIGINT)
        out, _ = started.communicate(timeout=30)
        assert sorted(out.splitlines()) == ["True", "cancelled", "interrupted"]
        assert started.returncode == 0


def test_an_interrupt_that_nobody_catches_ends_the_process() -> None:
    with process("is_interrupted_and_ends") as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "begun\n"
        started.send_signal(signal.SIGINT)
        out, complaints = started.communicate(timeout=30)
        assert out == "cancelled\n"
        assert complaints.rstrip().endswith("KeyboardInterrupt")
        assert started.returncode == -signal.SIGINT


@pytest.mark.parametrize("case", ["goes_on_after_the_main_thread", "is_used_as_the_interpreter_ends"])
@pytest.mark.parametrize("where", ["file", "memory"])
def test_a_call_after_the_end_of_the_main_thread_is_answered_or_refused(
    case: str, where: str, tmp_path: Path
) -> None:
    [answer] = said(case, STORE=f"file://{tmp_path}/objects" if where == "file" else "")
    assert answer.startswith("ConfigError: the interpreter is ending")


def test_what_needs_no_io_is_answered_in_the_calling_thread() -> None:
    assert json.loads(said("begins_no_thread")[0]) == ["MainThread"]


def test_spans_of_a_call_belong_to_the_callers() -> None:
    spans = json.loads(said("tells_spans")[0])
    assert ["coatcheck encode", "request"] in spans
    assert ["coatcheck store create", "coatcheck encode"] in spans
    assert ["coatcheck decode", "request"] in spans
    assert ["after", "request"] in spans


def test_threads_that_wait_keep_no_fork_waiting(s3_chain: Chain) -> None:
    stop = threading.Event()

    def use() -> None:
        while not stop.is_set():
            assert there_and_back(s3_chain, random(20_000))

    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(use) for _ in range(4)]
        try:
            assert all(in_child(lambda: there_and_back(s3_chain, random())) for _ in range(5))
        finally:
            stop.set()
        for one in busy:
            one.result(60)
