"""Every operation of a store, and what becomes of it."""

from coatcheck.contracts.store import Store
from coatcheck.errors import CoatcheckError


async def failures_of_all(store: Store) -> list[CoatcheckError | None]:
    """What create, replace, get, delete and a listing raise, one after the other; None for each that works."""

    async def listing() -> None:
        async for _ in store.list_objects():
            pass

    failures: list[CoatcheckError | None] = []
    for operation in (
        lambda: store.create("a", b"1"),
        lambda: store.replace("a", b"1"),
        lambda: store.get("a"),
        lambda: store.delete("a"),
        listing,
    ):
        try:
            await operation()
        except CoatcheckError as error:
            failures.append(error)
        else:
            failures.append(None)
    return failures
