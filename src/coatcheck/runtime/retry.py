"""Retries of calls that fail temporarily, until a deadline."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, TypeVar

from coatcheck.errors import CoatcheckError, KeyServiceError, StoreUnavailable
from coatcheck.runtime.portal import on_loop

_T = TypeVar("_T")

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0


async def retry(
    attempt: Callable[[], Awaitable[_T]],
    deadline: float,
    *,
    admission: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    late: Callable[[float], CoatcheckError] | None = None,
) -> _T:
    """Call ``attempt`` until no store and no key service is away or overloaded for it, and return its result.

    Waits between attempts with exponential back-off and full jitter ("Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015), at least as long as the service asked for, and never past the deadline. Raises all other errors at once.

    Args:
        attempt: The call; one attempt each time.
        deadline: Seconds for all attempts together, including the wait for admission.
        admission: A context that is entered around each attempt, such as a place in a limiter.
        late: Returns the error for no answer within this number of seconds; None if a store is called.

    Raises:
        CoatcheckError: The last attempt raised it.
        StoreUnavailable: There was no answer before the deadline; unless ``late`` returns another error.
    """
    loop = await on_loop()
    end = loop.time() + deadline
    for number in itertools.count():
        timeout = asyncio.timeout_at(end)
        try:
            async with timeout, admission():
                return await attempt()
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise (late(deadline) if late else no_answer("the store", deadline)) from error
        except (StoreUnavailable, KeyServiceError) as error:
            if not error.retryable:
                raise
            pause = random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**number))  # noqa: S311 - spreads load, hides nothing
            pause = max(pause, error.retry_after or 0)
            if loop.time() + pause >= end:
                raise
        await asyncio.sleep(pause)
    raise AssertionError("unreachable")


def no_answer(callee: str, seconds: float) -> StoreUnavailable:
    """Return the error for a call that took too long.

    Args:
        callee: The name of the service.
        seconds: The deadline.
    """
    return StoreUnavailable(
        f"{callee} gave no answer within {seconds:.3g} seconds",
        "Check the store and the network; Offload(deadline=...) sets how long to wait.",
    )
