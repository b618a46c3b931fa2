"""The client for callers."""

from typing import Any, Final

import httpx
from restate import HttpError, JournalValueCodec
from restate.client import Client
from restate.serde import DefaultSerde, Serde

from coatcheck.chain import Chain
from coatcheck.errors import StoreError
from coatcheck.integrations.restate.protocol import MOST_INLINE
from coatcheck.integrations.restate.scopes import handler_name, keyed_scope
from coatcheck.scope import Scope

_CONNECT_SECONDS: Final = 30.0


class ClaimCheckClient(Client):
    """Restate's client, with requests and responses on a chain.

    A request is sent when its object is durable. Its scope is that of the virtual object or workflow that is called;
    that of a service call is the tenant's, since there is no invocation yet.

    Args:
        plain: The client that it replaces.
        chain: The chain for all values.
        tenant: The tenant of the services that are called.
    """

    def __init__(self, plain: Client, chain: Chain, tenant: str) -> None:
        super().__init__(plain.client, plain.headers, _Responses(chain, tenant))
        self._chain = chain
        self._tenant = tenant

    async def post(  # noqa: D102, PLR0917 - as the SDK has it
        self,
        /,
        service: str,
        handler: str,
        send: bool,  # noqa: FBT001 - as the SDK has it
        content: bytes,
        headers: list[tuple[str, str]] | None = None,
        key: str | None = None,
        delay: int | None = None,
        idempotency_key: str | None = None,
        scope: str | None = None,
        limit_key: str | None = None,
    ) -> bytes:
        whose = keyed_scope(self._tenant, service, key, scope) if key else Scope(self._tenant)
        return await super().post(
            service=service,
            handler=handler,
            send=send,
            content=await self._encode(content, whose, handler_name(service, handler)),
            headers=headers,
            key=key,
            delay=delay,
            idempotency_key=idempotency_key,
            scope=scope,
            limit_key=limit_key,
        )

    async def do_raw_call(self, *args: Any, **options: Any) -> Any:
        """Call as the SDK does; the key that sealed the request is kept to open the response, however long that takes."""
        async with self._chain.holding_keys(self._tenant):
            return await super().do_raw_call(*args, **options)

    async def attach(self, invocation: str, serde: Serde[Any] | None = None) -> Any:
        """Wait for an invocation, and return its result.

        Args:
            invocation: Its ID; or what stands for it in the path of Restate's API: ``workflow/Signup/key``,
                ``invocation/Agent/ask/idempotency-key``.
            serde: JSON, unless it is given.

        Raises:
            HttpError: The invocation failed, or there is none.
            CoatcheckError: As :meth:`Chain.decode`.
        """
        return await self._result(f"{_path(invocation)}/attach", serde)

    async def output(self, invocation: str, serde: Serde[Any] | None = None) -> Any:
        """Return the result of an invocation that has ended; as :meth:`attach`, without waiting.

        Raises:
            HttpError: Also where it has not ended: its status is 470.
            CoatcheckError: As :meth:`Chain.decode`.
        """
        return await self._result(f"{_path(invocation)}/output", serde)

    async def _result(self, path: str, serde: Serde[Any] | None) -> Any:
        patient = httpx.Timeout(_CONNECT_SECONDS, read=None)
        answer = await self.client.get(path, headers=self.headers, timeout=patient)
        if not answer.is_success:
            raise HttpError(answer.status_code, answer.reason_phrase, answer.text)
        assert self.journal_codec is not None
        return (serde or DefaultSerde()).deserialize(await self.journal_codec.decode(answer.content))

    async def _encode(self, content: bytes, whose: Scope, name: str) -> bytes:
        if not content:
            return content
        try:
            return await self._chain.encode(content, whose, name=name)
        except StoreError:
            sealed = self._chain.seal_inline(content, whose)
            if len(sealed) > MOST_INLINE:
                raise
            return sealed


def _path(invocation: str) -> str:
    """Return the path of an invocation below the ingress."""
    return f"restate/{invocation if '/' in invocation else f'invocation/{invocation}'}"


class _Responses(JournalValueCodec):
    """Opens responses. Requests are encoded where that can be awaited: in :meth:`ClaimCheckClient.post`."""

    def __init__(self, chain: Chain, tenant: str) -> None:
        self._chain = chain
        self._scope = Scope(tenant)

    def encode(self, buf: bytes) -> bytes:
        return buf

    async def decode(self, buf: bytes) -> bytes:
        return await self._chain.decode(buf, self._scope) if buf else buf
