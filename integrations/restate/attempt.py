"""The attempt at an invocation that the caller is part of."""

from typing import Any

from restate.extensions import current_context
from restate.server_context import ServerInvocationContext

from coatcheck.chain import Chain
from coatcheck.errors import ConfigError
from coatcheck.keys.lease import current_lease


def check_lease(chain: Chain) -> None:
    """Refuse to seal where that could fail later for the want of a key, and would have Restate run a step again.

    It refuses at the first value, whether a key happens to be at hand or not.

    Raises:
        ConfigError: The chain loads keys, and the caller is part of no attempt that holds them.
    """
    if chain.loads_keys and current_lease() is None:
        raise ConfigError(
            "keys have to be loaded, and nothing holds them for this attempt",
            "Make the app with ClaimCheck.app, or give its services invocation_context_managers=[claims.holding_keys]; "
            "outside of handlers, use `async with claims.holding_keys()`.",
        )


async def flush() -> None:
    """Hand on what the attempt has come to so far, and the SDK has yet to send."""
    try:
        context = current_context()
    except LookupError:
        return
    if isinstance(context, ServerInvocationContext):
        send: Any = context.take_and_send_output
        await send()
