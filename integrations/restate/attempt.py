"""The attempt at an invocation that the caller is part of."""

from typing import Any

from restate.extensions import current_context
from restate.server_context import ServerInvocationContext

from coatcheck.chain import Chain
from coatcheck.errors import ConfigError
from coatcheck.keys.lease import current_lease


def check_lease(chain: Chain) -> None:
    """Refuse to seal if that could fail later for lack of a key, and make Restate run a step again.

    Refuses at the first value, even if a key happens to be cached.

    Raises:
        ConfigError: The chain loads keys, and the caller is not in an attempt that holds them.
    """
    if chain.loads_keys and current_lease() is None:
        raise ConfigError(
            "the chain loads keys, and nothing holds them for this attempt",
            "Make the app with ClaimCheck.app, or give its services invocation_context_managers=[claims.holding_keys]; "
            "outside of handlers, use `async with claims.holding_keys()`.",
        )


async def flush() -> None:
    """Send the attempt's messages so far, which the SDK has yet to send."""
    try:
        context = current_context()
    except LookupError:
        return
    if isinstance(context, ServerInvocationContext):
        send: Any = context.take_and_send_output
        await send()
