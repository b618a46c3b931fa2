"""Every single-bit flip and every truncation gives a typed error; exhaustively, at three sizes, for all forms."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from coatcheck import (
    Chain,
    CoatcheckError,
    Encrypt,
    Keyring,
    MemoryStore,
    Offload,
    PayloadCache,
    Scope,
    Sealing,
    Zstd,
)
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.format.wire import MAGIC
from tests.chains import KEY, SCOPE, keys_in

SIZES = [0, 100, 1000]
SEALINGS: list[tuple[Sealing, ...]] = [(), (Encrypt(Keyring(KEY)),)]


class CountingStore(MemoryStore):
    """Counts every call."""

    calls = 0

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self.calls += 1
        return await super().get(key, limit)


@dataclass
class Case:
    """A form that has been written, and the chain that wrote it."""

    chain: Chain
    store: CountingStore
    data: bytes


def payload(size: int) -> bytes:
    """Bytes that do not compress, so that every byte of them is in the sealed form."""
    return b"".join((n * 2654435761 % 2**32).to_bytes(4, "big") for n in range(size // 4))


def mutants(form: bytes) -> Iterator[bytes]:
    """Each form that differs from ``form`` by one bit, and each that is cut short; one that is longer."""
    for position in range(len(form)):
        for bit in range(8):
            yield form[:position] + bytes([form[position] ^ 1 << bit]) + form[position + 1 :]
    for length in range(len(form)):
        yield form[:length]
    yield form + b"\x00"


async def assert_typed_error(case: Case, mutant: bytes, scope: Scope) -> None:
    try:
        opened = await case.chain.open(mutant, scope)
    except CoatcheckError as error:
        assert error.todo, error  # noqa: PT017 - pytest.raises would double the time of a hundred thousand calls
    else:
        pytest.fail(f"opened to {len(opened)} bytes: {mutant[:80].hex()}")


@pytest.mark.parametrize("scope", [SCOPE, Scope("tenant-a")], ids=["run", "tenant"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sealing", SEALINGS, ids=["plain", "encrypted"])
async def test_envelope_in_the_journal(sealing: tuple[Sealing, ...], size: int, scope: Scope) -> None:
    chain = Chain(Zstd(), *sealing)
    # A chain without keys seals inline only what needs it: what looks like ours, or got smaller.
    data = MAGIC + payload(size)
    form = await chain.encode(data, scope)
    assert await chain.open(form, scope) == data
    case = Case(chain, CountingStore(), data)
    for mutant in mutants(form):
        await assert_typed_error(case, mutant, scope)


@pytest.mark.parametrize("sealing", SEALINGS, ids=["plain", "encrypted"])
@pytest.mark.parametrize("size", SIZES)
async def test_object_in_the_store(sealing: tuple[Sealing, ...], size: int) -> None:
    store = CountingStore()
    chain = Chain(Zstd(), *sealing, Offload(store, over=0), cache=PayloadCache(0))
    data = b"!" + payload(size)
    reference = await chain.encode(data, SCOPE)
    (key,) = await keys_in(store)
    case = Case(chain, store, data)
    for mutant in mutants(await store.get(key)):
        await store.replace(key, mutant)
        await assert_typed_error(case, reference, SCOPE)


@pytest.mark.parametrize("scope", [SCOPE, Scope("tenant-a")], ids=["run", "tenant"])
@pytest.mark.parametrize("alias", ["d", "default", "a-store-with-quite-a-long-name"])
@pytest.mark.parametrize("sealing", SEALINGS, ids=["plain", "encrypted"])
async def test_reference_and_nothing_is_fetched_for_it(
    sealing: tuple[Sealing, ...], alias: str, scope: Scope
) -> None:
    store = CountingStore()
    chain = Chain(*sealing, Offload(store, over=0, alias=alias))
    reference = await chain.encode(payload(4000), scope)
    case = Case(chain, store, payload(4000))
    for mutant in mutants(reference):
        await assert_typed_error(case, mutant, scope)
    assert store.calls == 0
