"""The conformance suite of key services: subclass :class:`KeyServiceSuite` in a test module."""

import asyncio
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor

import pytest

from coatcheck.contracts.keys import KEY_LENGTH
from coatcheck.errors import IntegrityError, KeyDestroyed, KeyServiceError, KeyUnavailable
from coatcheck.keys.kms import KeyService

_CONTEXT = {"coatcheck-store": "prod", "tenant": "00ff", "number": "1"}
_OTHER_CONTEXTS: tuple[dict[str, str], ...] = (
    {},
    {"coatcheck-store": "prod", "tenant": "00ff"},
    {**_CONTEXT, "more": "1"},
    {**_CONTEXT, "number": "2"},
    {**_CONTEXT, "number": "11"},
    {**_CONTEXT, "tenant": "00FF"},
    {**_CONTEXT, "tenant": "1", "number": "00ff"},
)
_SECRET = bytes(range(KEY_LENGTH))
_AT_ONCE = 16
_STEPS = 12
_PATIENCE = 60
"""Seconds after which a client that waits for another loop is given up."""


class KeyServiceSuite(ABC):
    """Tests of everything that :class:`coatcheck.keys.kms.KeyService` promises.

    A subclass named ``Test...`` needs a ``service`` fixture (plain or async), which gives each test a client for a key of
    its own, and :meth:`again` and :meth:`other_key`. What a service cannot do, such as :meth:`rotate`, is left out, and its
    test is skipped. The tests are coroutines: they run with pytest-asyncio in either mode.
    """

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def service(self) -> KeyService:
        """Return a client for a new key. Subclasses must override it."""
        raise NotImplementedError("a subclass of KeyServiceSuite needs a `service` fixture")

    @abstractmethod
    def again(self, service: KeyService) -> KeyService:
        """Return another client for the same key, as another process would have.

        Args:
            service: The client of the fixture.
        """

    @abstractmethod
    def other_key(self, service: KeyService) -> KeyService:
        """Return a client for another key, which is allowed the same.

        Args:
            service: The client of the fixture.
        """

    def unreachable(self, service: KeyService) -> KeyService:  # noqa: ARG002 - for those that can
        """Return a client for the same key whose requests nobody answers.

        Args:
            service: The client of the fixture.
        """
        pytest.skip("no `unreachable` in this suite")

    async def rotate(self, service: KeyService) -> None:  # noqa: ARG002 - for those that can
        """Make a new version of the key in the service, past ``service``.

        Args:
            service: The client of the fixture.
        """
        pytest.skip("no `rotate` in this suite")

    async def disable(self, service: KeyService) -> None:  # noqa: ARG002 - for those that can
        """Have the service refuse to use the key, in a way that its operator can undo.

        Args:
            service: The client of the fixture.
        """
        pytest.skip("no `disable` in this suite")

    async def destroy(self, service: KeyService) -> None:  # noqa: ARG002 - for those that can
        """Destroy the key in the service, so that nobody can unwrap what it wrapped.

        Args:
            service: The client of the fixture.
        """
        pytest.skip("no `destroy` in this suite")

    async def test_round_trip(self, service: KeyService) -> None:
        """Unwrap with one client what another one wrapped; the order of the context does not matter."""
        wrapped = await service.wrap(_SECRET, _CONTEXT)
        assert _SECRET not in wrapped
        again = self.again(service)
        assert again.name == service.name
        assert await again.unwrap(wrapped, dict(reversed(_CONTEXT.items()))) == _SECRET
        await again.close()

    async def test_generated_secrets_differ(self, service: KeyService) -> None:
        """Each is 32 bytes, and wrapped as it is."""
        made = [await service.generate(_CONTEXT) for _ in range(3)]
        assert len(dict(made)) == len({wrapped for _, wrapped in made}) == len(made)
        for secret, wrapped in made:
            assert len(secret) == KEY_LENGTH
            assert await service.unwrap(wrapped, _CONTEXT) == secret

    async def test_context_is_bound(self, service: KeyService) -> None:
        """Neither a changed, nor a missing, nor an added value, nor the same text in other places opens anything."""
        for wrapped in (await service.wrap(_SECRET, _CONTEXT), (await service.generate(_CONTEXT))[1]):
            for context in _OTHER_CONTEXTS:
                with pytest.raises(IntegrityError):
                    await service.unwrap(wrapped, context)
            assert len(await service.unwrap(wrapped, _CONTEXT)) == KEY_LENGTH

    async def test_context_is_not_run_together(self, service: KeyService) -> None:
        """Names and values stay apart: a context whose texts read the same, one after the other, is another one."""
        wrapped = await service.wrap(_SECRET, _CONTEXT)
        with pytest.raises(IntegrityError):
            await service.unwrap(wrapped, {"coatcheck-store": "prodnumber1", "tenant": "00ff"})

    async def test_damaged_is_refused(self, service: KeyService) -> None:
        """A changed byte never gives another secret, nor does what was cut off."""
        wrapped = await service.wrap(_SECRET, _CONTEXT)
        for position in {0, len(wrapped) // 4, len(wrapped) // 2, len(wrapped) - 1}:
            changed = bytearray(wrapped)
            changed[position] ^= 1
            with pytest.raises((IntegrityError, KeyUnavailable)):
                await service.unwrap(bytes(changed), _CONTEXT)
        for cut in (b"", wrapped[:1], wrapped[: len(wrapped) // 2], wrapped[:-4]):
            with pytest.raises((IntegrityError, KeyUnavailable)):
                await service.unwrap(cut, _CONTEXT)

    async def test_another_key_opens_nothing(self, service: KeyService) -> None:
        """Two keys have two names, and one does not unwrap what the other wrapped."""
        other = self.other_key(service)
        assert other.name != service.name
        wrapped = await service.wrap(_SECRET, _CONTEXT)
        with pytest.raises((IntegrityError, KeyUnavailable)):
            await other.unwrap(wrapped, _CONTEXT)
        assert await other.unwrap(await other.wrap(_SECRET, _CONTEXT), _CONTEXT) == _SECRET
        await other.close()

    async def test_errors_hold_no_secret(self, service: KeyService) -> None:
        """Neither an error nor what it was raised from contains what was wrapped, nor the wrapped key."""
        wrapped = await service.wrap(_SECRET, _CONTEXT)
        with pytest.raises(IntegrityError) as caught:
            await service.unwrap(wrapped, {})
        error: BaseException | None = caught.value
        while error is not None:
            for hidden in (_SECRET, wrapped):
                assert repr(hidden)[2:-1] not in str(error)
            error = error.__cause__ or error.__context__

    async def test_many_at_once(self, service: KeyService) -> None:
        """Each concurrent call gets its own answer."""
        contexts = [{**_CONTEXT, "number": str(number)} for number in range(_AT_ONCE)]
        made = await asyncio.gather(*map(service.generate, contexts))
        opened = await asyncio.gather(
            *(service.unwrap(wrapped, context) for (_, wrapped), context in zip(made, contexts, strict=True))
        )
        assert opened == [secret for secret, _ in made]

    async def test_cancelled_calls_leave_it_usable(self, service: KeyService) -> None:
        """A call that is cancelled at any step takes nothing with it."""
        for steps in range(_STEPS):
            call = asyncio.ensure_future(service.wrap(_SECRET, _CONTEXT))
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert await service.unwrap(await service.wrap(_SECRET, _CONTEXT), _CONTEXT) == _SECRET

    async def test_use_after_close(self, service: KeyService) -> None:
        """A closed service opens again."""
        wrapped = await service.wrap(_SECRET, _CONTEXT)
        await service.close()
        await service.close()
        assert await service.unwrap(wrapped, _CONTEXT) == _SECRET

    async def test_two_event_loops_at_once(self, service: KeyService) -> None:
        """One client serves several threads, each with a loop of its own."""

        async def use() -> bytes:
            async with asyncio.timeout(_PATIENCE):
                return await service.unwrap(await service.wrap(_SECRET, _CONTEXT), _CONTEXT)

        with ThreadPoolExecutor(2) as threads:
            opened = [asyncio.wrap_future(threads.submit(asyncio.run, use())) for _ in range(2)]
            assert [*await asyncio.gather(*opened), await use()] == [_SECRET] * 3

    async def test_away_is_worth_a_retry(self, service: KeyService) -> None:
        """A service that nobody answers for raises a retryable error."""
        wrapped = await service.wrap(_SECRET, _CONTEXT)
        away = self.unreachable(service)
        for call in (away.generate(_CONTEXT), away.wrap(_SECRET, _CONTEXT), away.unwrap(wrapped, _CONTEXT)):
            with pytest.raises(KeyServiceError) as caught:
                await call
            assert caught.value.retryable
        await away.close()

    async def test_rotated_key_opens_what_it_wrapped(self, service: KeyService) -> None:
        """Versions before and after a rotation both open, in a client that knows nothing of it too."""
        before = await service.wrap(_SECRET, _CONTEXT)
        await self.rotate(service)
        secret, after = await service.generate(_CONTEXT)
        again = self.again(service)
        for one in (service, again):
            assert await one.unwrap(before, _CONTEXT) == _SECRET
            assert await one.unwrap(after, _CONTEXT) == secret
        await again.close()

    async def test_disabled_key_is_unavailable(self, service: KeyService) -> None:
        """An operator can undo it: the error is retryable."""
        wrapped = await service.wrap(_SECRET, _CONTEXT)
        await self.disable(service)
        for call in (service.unwrap(wrapped, _CONTEXT), service.generate(_CONTEXT)):
            with pytest.raises(KeyUnavailable) as caught:
                await call
            assert caught.value.retryable
            assert not isinstance(caught.value, KeyServiceError)

    async def test_destroyed_key_is_destroyed(self, service: KeyService) -> None:
        """Nobody can undo it: ``KeyDestroyed``, which is not retryable."""
        wrapped = await service.wrap(_SECRET, _CONTEXT)
        await self.destroy(service)
        with pytest.raises(KeyDestroyed) as caught:
            await service.unwrap(wrapped, _CONTEXT)
        assert not caught.value.retryable
