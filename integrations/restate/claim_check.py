"""A chain for Restate's apps, clients and handlers."""

import os
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Literal

import restate
from restate import Context, JournalValueCodec, Service, VirtualObject, Workflow
from restate.aws_lambda import wrap_asgi_as_lambda_handler
from restate.client import Client
from restate.serde import DefaultSerde, Serde
from restate.server import parse_path

from coatcheck.chain import Chain
from coatcheck.errors import CoatcheckError, ConfigError
from coatcheck.format.reference import Reference
from coatcheck.integrations.restate.client import ClaimCheckClient
from coatcheck.integrations.restate.codec import ClaimCheckCodec
from coatcheck.integrations.restate.durability_gate import behind_gate, current_gate
from coatcheck.integrations.restate.scopes import scope_of
from coatcheck.integrations.restate.serde import ClaimCheckSerde
from coatcheck.pipeline.upload import Upload
from coatcheck.runtime.concurrency import ENCODE_INLINE_UP_TO, off_loop
from coatcheck.scope import Scope

_ON_LAMBDA = "AWS_LAMBDA_FUNCTION_NAME"
"""Variable that AWS sets; if it is there, the SDK makes a Lambda handler in place of an ASGI app."""


class ClaimCheck:
    """Takes payloads out of Restate's journal: ``ClaimCheck(chain).app([service, ...])``.

    Handlers stay as they are. ``docs/restate.md`` says what is encoded where, and in which scope.

    Args:
        chain: Every value's path.
        tenant: Whose values they are: what was written for one tenant is opened for no other.
        plain_inputs: With ``Encrypt(..., accept_plain=False)``: the services (``"Gateway"``) and handlers
            (``"Gateway/ask"``) that may be called in the clear, from a browser, say. All their other values, and
            everything of all others, must be sealed.

    Raises:
        ConfigError: ``tenant`` is empty, or an app has nothing that is called like one of ``plain_inputs``.
    """

    def __init__(self, chain: Chain, *, tenant: str = "default", plain_inputs: Collection[str] = ()) -> None:
        self._chain = chain
        self._plain_inputs = frozenset(plain_inputs)
        self._scope = Scope(tenant)

    def app(
        self,
        services: Iterable[Service | VirtualObject | Workflow],
        protocol: Literal["bidi", "request_response"] | None = None,
        identity_keys: list[str] | None = None,
    ) -> Any:
        """Make an app as ``restate.app`` does: an ASGI app, or on AWS Lambda a handler.

        A reference leaves the app only when its object is durable.
        """
        services = list(services)
        self._check_names(services)
        codec = ClaimCheckCodec(self._chain, self._scope.tenant, self._plain_inputs)
        with _asgi_everywhere() as on_lambda:
            app: Any = restate.app(services, protocol, identity_keys, codec)
        held_back: Any = behind_gate(self._with_keys(app))
        return wrap_asgi_as_lambda_handler(held_back) if on_lambda else held_back

    def _check_names(self, services: Iterable[Service | VirtualObject | Workflow]) -> None:
        """Refuse names of inputs that no service here has: a misspelt one would leave a door shut, or seem to."""
        known = {
            name
            for service in services
            for name in (service.name, *(f"{service.name}/{handler}" for handler in service.handlers))
        }
        unknown = sorted(self._plain_inputs - known)
        if unknown:
            raise ConfigError(
                f"plain_inputs names {', '.join(unknown)}, which this app does not have",
                "Write Service or Service/handler, as Restate calls them.",
            )

    def _with_keys(self, app: Any) -> Any:
        """Return the same ASGI app; each attempt has the tenant's key from its beginning to its end, or does not begin.

        The SDK's hooks cannot wait for a key, and would run a step again whose result they cannot seal.
        """

        async def ready(scope: Any, receive: Any, send: Any) -> None:
            async with AsyncExitStack() as attempt:
                gate = current_gate()
                if gate is not None and parse_path(scope["path"])["type"] == "invocation":
                    try:
                        await attempt.enter_async_context(self.holding_keys())
                    except CoatcheckError as error:
                        await gate.refuse(error)
                        return
                await app(scope, receive, send)

        return ready

    def holding_keys(self) -> AbstractAsyncContextManager[None]:
        """Keep the tenant's key for the length of a block, whatever its age: :meth:`Chain.holding_keys`.

        :meth:`app` does so for each attempt. For services of other apps that use :meth:`serde` on a chain with
        :class:`~coatcheck.TenantKeys`: ``Service("Agent", invocation_context_managers=[claims.holding_keys])``.
        """
        return self._chain.holding_keys(self._scope.tenant)

    @property
    def journal_value_codec(self) -> JournalValueCodec:
        """Return a codec for callers that take no client, such as ``restate.create_test_harness(journal_value_codec=...)``.

        It seals and never offloads, but opens offloaded values. Apps come from :meth:`app`.
        """
        return ClaimCheckCodec(self._chain, self._scope.tenant, self._plain_inputs)

    async def open(self, data: bytes) -> bytes:
        """Return the value behind ``data`` that the SDK did not pass to the codec; ``data`` itself if it is not ours.

        For example ``ctx.request().body``, or a value fetched over HTTP.

        Raises:
            CoatcheckError: As :meth:`Chain.decode`. Within an attempt, what another attempt can mend ends this one.
        """
        return await ClaimCheckCodec(self._chain, self._scope.tenant, self._plain_inputs).decode(data)

    @asynccontextmanager
    async def create_client(
        self, ingress: str | None = None, headers: dict[str, str] | None = None
    ) -> AsyncIterator[ClaimCheckClient]:
        """Make a client as ``restate.create_client`` does: for callers of claim-checked services, from outside of Restate.

        It can also attach to invocations: :meth:`ClaimCheckClient.attach`.
        """
        async with restate.create_client(ingress, headers) as plain:
            assert isinstance(plain, Client)
            yield ClaimCheckClient(plain, self._chain, self._scope.tenant)

    def serde(self, inner: Serde[Any] | None = None) -> Serde[Any]:
        """Return a serde that compresses and seals another one's bytes, for apps that do not come from :meth:`app`.

        With :class:`~coatcheck.TenantKeys` it works within :meth:`holding_keys` only.

        Args:
            inner: JSON, unless it is given.
        """
        return ClaimCheckSerde(inner or DefaultSerde(), self._chain, self._scope.tenant)

    async def offload(self, ctx: Context, value: Any, serde: Serde[Any] | None = None) -> str:
        """Keep a value in the store, whatever its size; the text that comes back stands for it anywhere.

        The value is durable when this returns, on every host. The same value in the same invocation or object gives
        the same text, so this need not be a step: a handler may call it as often as it is run.

        Args:
            ctx: The handler's.
            value: What to keep.
            serde: JSON, unless it is given.

        Raises:
            ConfigError: The chain has no :class:`~coatcheck.Offload`, or is ``decode_only``.
            LimitExceeded: The value is larger than the chain's ``max_payload``.
            StoreError: The store cannot or will not take it.
        """
        if self._chain.decode_only:
            raise ConfigError("this chain is decode_only and cannot write", "Use a chain that writes.")
        data = bytes((serde or DefaultSerde()).serialize(value))
        scope = scope_of(ctx, self._scope.tenant)
        async with self.holding_keys():
            begin = partial(self._chain.begin_upload, always=True)
            upload = await off_loop(len(data), ENCODE_INLINE_UP_TO, begin, data, scope)
            assert isinstance(upload, Upload)
            await upload.store()
            return Reference.from_bytes(upload.reference).to_text()

    async def load(self, ctx: Context, reference: str, serde: Serde[Any] | None = None) -> Any:
        """Return a value that :meth:`offload` kept, in any handler of the tenant.

        Args:
            ctx: The handler's; any will do, since a reference names its scope.
            reference: The text from :meth:`offload`.
            serde: The serde that the value was kept with.

        Raises:
            CoatcheckError: As :meth:`Chain.open`.
        """
        del ctx
        data = await self._chain.open_reference(Reference.from_text(reference), self._scope)
        return (serde or DefaultSerde()).deserialize(data)


@contextmanager
def _asgi_everywhere() -> Iterator[bool]:
    """Make the SDK return an ASGI app, which a gate can wrap, on AWS Lambda as well."""
    name = os.environ.pop(_ON_LAMBDA, None)
    try:
        yield name is not None
    finally:
        if name is not None:
            os.environ[_ON_LAMBDA] = name
