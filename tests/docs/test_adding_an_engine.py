"""The integration of docs/adding-an-engine.md keeps the promises of that page where the page does not look."""

import importlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coatcheck import (
    Chain,
    Encrypt,
    FileStore,
    IntegrityError,
    Keyring,
    Offload,
    PayloadCache,
    Scope,
    Zstd,
    is_ours,
    is_reference,
    run_tags_in,
)
from tests.chains import KEY
from tests.docs.blocks import ROOT, blocks

SOURCES = {
    block.title: block.source for block in blocks(ROOT / "docs" / "adding-an-engine.md") if block.title
}
MODULES = ("acme", "acme_coatcheck")
LARGE = b"".join(f"{n}: what an agent says\n".encode() for n in range(5000))


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Makes the page's engine in a process that knows nothing: on the same journals and, by default, the same store."""
    for title in MODULES:
        (tmp_path / f"{title}.py").write_text(SOURCES[f"{title}.py"])
    monkeypatch.syspath_prepend(str(tmp_path))
    acme, integration = map(importlib.import_module, MODULES)
    journals: dict[str, list[bytes]] = {}

    def made(folder: Path = tmp_path / "store", *, accept_plain: bool = True) -> Any:
        sealing = Encrypt(Keyring(KEY), accept_plain=accept_plain)
        chain = Chain(Zstd(), sealing, Offload(FileStore(folder)), cache=PayloadCache(2**20))
        return acme.Engine(integration.ClaimCheck(chain, "acme-corp"), journals)

    yield made
    for name in MODULES:
        del sys.modules[name]


def step(done: list[int], payload: bytes) -> Callable[[list[bytes]], Awaitable[bytes]]:
    async def work(results: list[bytes]) -> bytes:
        done.append(len(results))
        return payload

    return work


def test_the_integration_is_short() -> None:
    assert len(SOURCES["acme_coatcheck.py"].splitlines()) < 60


async def test_a_reference_is_journaled_when_its_object_is_there(
    engine: Callable[..., Any], tmp_path: Path
) -> None:
    hooks = engine().hooks
    async with hooks.attempt("run-1", is_replay=False):
        entry = hooks.dump(LARGE, "run-1")
        assert is_reference(entry)
        assert not list((tmp_path / "store").rglob("*/*/*"))
        assert await hooks.before_write(entry) == entry
        # A process that knows nothing can read it from now on.
        assert await engine().hooks.load(entry) == LARGE


async def test_an_attempt_that_is_given_up_leaves_nothing_that_the_next_one_trips_over(
    engine: Callable[..., Any],
) -> None:
    given_up = []

    async def attempt() -> None:
        hooks = engine().hooks
        async with hooks.attempt("run-1", is_replay=False):
            given_up.append(hooks.dump(LARGE, "run-1"))
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await attempt()
    assert await engine().run("run-1", [step([], LARGE)]) == [LARGE]
    assert engine().journals["run-1"] == given_up


async def test_a_step_whose_result_the_store_does_not_take_is_not_run_again(
    engine: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "occupied").write_text("a file where the store's folder would be")
    done: list[int] = []
    broken = engine(tmp_path / "occupied")
    assert await broken.run("run-1", [step(done, LARGE)]) == [LARGE]
    (entry,) = broken.journals["run-1"]
    assert is_ours(entry)
    assert not is_reference(entry)
    assert await engine().run("run-1", [step(done, LARGE)]) == [LARGE]
    assert done == [0]


async def test_what_nobody_sealed_is_refused(engine: Callable[..., Any]) -> None:
    strict = engine(accept_plain=False)
    strict.journals["run-1"] = [b"planted"]
    with pytest.raises(IntegrityError):
        await strict.run("run-1", [])


async def test_a_sweep_is_told_of_the_run_that_a_result_came_from(engine: Callable[..., Any]) -> None:
    machine = engine()
    await machine.run("run-1", [step([], LARGE)])
    machine.journals["run-2"] = list(machine.journals["run-1"])
    assert await engine().run("run-2", []) == [LARGE]
    del machine.journals["run-1"]
    runs = sys.modules["acme_coatcheck"].AcmeRuns(machine.journals, "acme-corp")
    (tag,) = run_tags_in(machine.journals["run-2"][0])
    assert [found async for found in runs.scopes()] == [Scope("acme-corp", "run-2", engine="acme"), tag]
