"""Idempotency keys for what an agent does beside its checkpoints."""

import hashlib
from typing import Final

_KEY_LENGTH: Final = 16


def idempotency_key(run: str, step: int, tool: str = "") -> str:
    """Return an idempotency key for a tool that writes: the same for every attempt at a step, so that it happens once.

    An agent that crashed between a write and the checkpoint after it repeats the step and the write. A service that
    accepts idempotency keys, or a table with a unique key, then recognises the repeated write.

    The key is the start of SHA-256 over ``run``, ``step`` and ``tool``, so it is the same in every process, release and
    language (``docs/wire-format.md``, "Checkpoints"). It contains no secret: anybody who knows the three can compute it.

    Args:
        run: The name of the run; include the tenant if runs of several tenants write to one place.
        step: The number of the step.
        tool: The name of the write, if the step has several: ``"refund"``, ``"mail:2"``.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256(b"coatcheck/v1/idempotency-key/")
    for field in (run, str(step), tool):
        data = field.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()[:_KEY_LENGTH].hex()
