"""Putting a chain into Restate's apps, clients and handlers."""

import os
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Literal

import restate
from restate import Context, RestateClient, Service, VirtualObject, Workflow
from restate.aws_lambda import wrap_asgi_as_lambda_handler
from restate.client import Client
from restate.serde import DefaultSerde, Serde

from coatcheck.chain import Chain
from coatcheck.concurrency import ENCODE_INLINE_UP_TO, off_loop
from coatcheck.errors import CoatcheckError, ConfigError
from coatcheck.format.reference import Reference
from coatcheck.integrations.restate.barrier import behind_barrier
from coatcheck.integrations.restate.client import ClaimCheckClient
from coatcheck.integrations.restate.codec import ClaimCheckCodec
from coatcheck.integrations.restate.scopes import scope_of
from coatcheck.integrations.restate.serde import ClaimCheckSerde
from coatcheck.scope import Scope

_ON_LAMBDA = "AWS_LAMBDA_FUNCTION_NAME"
"""Set by AWS; the SDK makes a Lambda handler in place of an ASGI app where it finds it."""


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
        """As ``restate.app``: an ASGI app, or on AWS Lambda a handler.

        What refers to an object leaves the app when the object is durable.
        """
        services = list(services)
        self._check_names(services)
        codec = ClaimCheckCodec(self._chain, self._scope.tenant, self._plain_inputs)
        with _asgi_everywhere() as on_lambda:
            app: Any = restate.app(services, protocol, identity_keys, codec)
        held_back: Any = behind_barrier(self._with_keys(app))
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
        """The same ASGI app; the tenant's key is loaded before each attempt, since the SDK's hooks cannot wait for it."""

        async def ready(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and not self._chain.decode_only:
                # Where it cannot be had, the hook that needs it says so, and the attempt is made again.
                with suppress(CoatcheckError):
                    await self._chain.load_keys(self._scope.tenant)
            await app(scope, receive, send)

        return ready

    @asynccontextmanager
    async def create_client(
        self, ingress: str | None = None, headers: dict[str, str] | None = None
    ) -> AsyncIterator[RestateClient]:
        """As ``restate.create_client``: for callers of claim-checked services, from outside of Restate."""
        async with restate.create_client(ingress, headers) as plain:
            assert isinstance(plain, Client)
            yield ClaimCheckClient(plain, self._chain, self._scope.tenant)

    def serde(self, inner: Serde[Any] | None = None) -> Serde[Any]:
        """A serde that compresses and seals what another one writes, for apps that do not come from :meth:`app`.

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
            raise ConfigError("this chain is decode_only, and would have to write", "Use one that writes.")
        data = bytes((serde or DefaultSerde()).serialize(value))
        scope = scope_of(ctx, self._scope.tenant)
        await self._chain.load_keys(scope.tenant)
        draft = await off_loop(len(data), ENCODE_INLINE_UP_TO, self._chain.writer.draft, data, scope)
        await self._chain.writer.keep(draft)
        return draft.reference(()).to_text()

    async def load(self, ctx: Context, reference: str, serde: Serde[Any] | None = None) -> Any:
        """The value that :meth:`offload` kept, in whichever handler of the tenant.

        Args:
            ctx: The handler's; any will do, since a reference says itself whose it is.
            reference: What :meth:`offload` returned.
            serde: That which the value was kept with.

        Raises:
            CoatcheckError: As :meth:`Chain.open`.
        """
        del ctx
        data = await self._chain.open_reference(Reference.from_text(reference), self._scope)
        return (serde or DefaultSerde()).deserialize(data)


@contextmanager
def _asgi_everywhere() -> Iterator[bool]:
    """Have the SDK make an ASGI app, which a barrier can be put around, on AWS Lambda as well."""
    name = os.environ.pop(_ON_LAMBDA, None)
    try:
        yield name is not None
    finally:
        if name is not None:
            os.environ[_ON_LAMBDA] = name
