"""The suite finds what it is for: key services that are wrong in one way each."""

import asyncio
import os
from collections.abc import Mapping
from typing import ClassVar

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from coatcheck.errors import CoatcheckError, IntegrityError, KeyServiceError, KeyUnavailable
from coatcheck.keys.kms import KeyService, context_bytes
from coatcheck.testing import KeyServiceSuite


class _Sound(KeyService):
    """Keeps its keys in the process. What breaks it has one method of its own."""

    kind: ClassVar[str] = "memory"
    keys: ClassVar[dict[str, list[bytes]]] = {}

    def __init__(self, name: str = "") -> None:
        self.name = name or f"key-{len(self.keys)}"
        self.keys.setdefault(self.name, [os.urandom(32)])

    def bound(self, context: Mapping[str, str]) -> bytes:
        return context_bytes(context)

    async def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        await asyncio.sleep(0)
        nonce = os.urandom(12)
        versions = self.keys[self.name]
        return (
            bytes((len(versions),)) + nonce + AESGCM(versions[-1]).encrypt(nonce, secret, self.bound(context))
        )

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        await asyncio.sleep(0)
        try:
            secret = [b"", *self.keys[self.name]][wrapped[0]]
            return AESGCM(secret).decrypt(wrapped[1:13], wrapped[13:], self.bound(context))
        except (InvalidTag, IndexError, ValueError):
            raise IntegrityError("damaged", "Restore it.") from None


class _Away(_Sound):
    async def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        raise KeyServiceError("away")

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        raise KeyServiceError("away")


class TestSound(KeyServiceSuite):
    @pytest.fixture
    def service(self) -> KeyService:
        return _Sound()

    def again(self, service: KeyService) -> KeyService:
        return type(service)(service.name)  # type: ignore[call-arg]

    def other_key(self, service: KeyService) -> KeyService:
        return type(service)()

    def unreachable(self, service: KeyService) -> KeyService:
        return _Away(service.name)

    async def rotate(self, service: KeyService) -> None:
        _Sound.keys[service.name].append(os.urandom(32))


class _IgnoresContext(_Sound):
    def bound(self, context: Mapping[str, str]) -> bytes:
        return b""


class _RunsContextTogether(_Sound):
    def bound(self, context: Mapping[str, str]) -> bytes:
        return "".join(name + context[name] for name in sorted(context)).encode()


class _DependsOnOrder(_Sound):
    def bound(self, context: Mapping[str, str]) -> bytes:
        return repr(list(context.items())).encode()


class _KeepsNothingSecret(_Sound):
    async def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        return secret

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        return wrapped


class _GeneratesTheSame(_Sound):
    async def generate(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        return bytes(32), await self.wrap(bytes(32), context)


class _OneKeyForAll(_Sound):
    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self.keys[self.name] = [bytes(32)]


class _ForgetsOldVersions(_Sound):
    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        return await super().unwrap(bytes((len(self.keys[self.name]),)) + wrapped[1:], context)


class _OneLoop(_Sound):
    loop: asyncio.AbstractEventLoop | None = None

    async def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        self.loop = self.loop or asyncio.get_running_loop()
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError("bound to a different event loop")
        return await super().wrap(secret, context)


class _StaysClosed(_Sound):
    closed = False

    async def close(self) -> None:
        self.closed = True

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        if self.closed:
            raise KeyUnavailable("closed")
        return await super().unwrap(wrapped, context)


class _QuotesWhatItGot(_Sound):
    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        try:
            return await super().unwrap(wrapped, context)
        except IntegrityError:
            raise IntegrityError(f"cannot open {wrapped!r}") from None


@pytest.mark.parametrize(
    ("broken", "found_by"),
    [
        (_IgnoresContext, "test_context_is_bound"),
        (_RunsContextTogether, "test_context_is_not_run_together"),
        (_DependsOnOrder, "test_round_trip"),
        (_KeepsNothingSecret, "test_round_trip"),
        (_KeepsNothingSecret, "test_damaged_is_refused"),
        (_GeneratesTheSame, "test_generated_secrets_differ"),
        (_OneKeyForAll, "test_another_key_opens_nothing"),
        (_ForgetsOldVersions, "test_rotated_key_opens_what_it_wrapped"),
        (_OneLoop, "test_two_event_loops_at_once"),
        (_StaysClosed, "test_use_after_close"),
        (_QuotesWhatItGot, "test_errors_hold_no_secret"),
    ],
)
async def test_broken_key_service_is_found(broken: type[_Sound], found_by: str) -> None:
    with pytest.raises((AssertionError, CoatcheckError, RuntimeError, pytest.fail.Exception)):
        await getattr(TestSound(), found_by)(broken())
