"""The scope of a payload: the virtual object's or the workflow's, or else the invocation's."""

from typing import Final

from restate import Context
from restate.extensions import current_context
from restate.server_context import ServerInvocationContext

from coatcheck.errors import ConfigError
from coatcheck.scope import Scope

ENGINE: Final = "restate"


def scope_of(context: Context, tenant: str) -> Scope:
    """Return the scope that a handler writes in.

    Values of a virtual object or a workflow can outlive the invocation as state, so their scope is
    ``Service/key``; a handler of a service has the invocation's ID. Restate's own scope, if there is one, comes
    first: ``scope:Service/key``.

    Raises:
        ConfigError: ``context`` is not the one that the handler was given.
    """
    if not isinstance(context, ServerInvocationContext):
        raise ConfigError(
            "this is not the context of a Restate handler", "Pass the ctx that the handler was given."
        )
    request = context.request()
    key = context.key()
    if not key:
        return Scope(tenant, request.id, engine=ENGINE)
    return keyed_scope(tenant, context.handler.service_tag.name, key, request.scope)


def keyed_scope(tenant: str, service: str, key: str, restate_scope: str | None = None) -> Scope:
    """Return the scope of a virtual object or a workflow."""
    prefix = f"{restate_scope}:" if restate_scope else ""
    return Scope(tenant, f"{prefix}{service}/{key}", engine=ENGINE)


def names_of_input(data: bytes) -> tuple[str, ...]:
    """Return the names of the service and the handler whose input, as it came, is this very object; none if it is none.

    The SDK hands a codec all values in the same way, so an input is known by its identity.
    """
    context = _current()
    if not isinstance(context, ServerInvocationContext) or context.invocation.input_buffer is not data:
        return ()
    service = context.handler.service_tag.name
    return service, f"{service}/{context.handler.name}"


def current_scope(tenant: str) -> Scope:
    """Return the scope of the handler that the caller is part of; the tenant's if there is none."""
    context = _current()
    return Scope(tenant) if context is None else scope_of(context, tenant)


def current_name() -> str:
    """Return ``handler:Service/handler`` for the handler which the caller is part of; empty where there is none."""
    context = _current()
    if not isinstance(context, ServerInvocationContext):
        return ""
    return handler_name(context.handler.service_tag.name, context.handler.name)


def handler_name(service: str, handler: str) -> str:
    """Return the name of a handler's payloads, for a chain's rules."""
    return f"handler:{service}/{handler}"


def _current() -> Context | None:
    try:
        return current_context()
    except LookupError:
        return None
