"""Everything that coatcheck raises.

CoatcheckError
├── ConfigError          the chain, a keyring or a store is set up wrongly
├── FormatError          bytes that are no envelope or reference of a version known here
├── IntegrityError       tampered, swapped, damaged, or sealed under another key
├── KeyUnavailable       sealed under a key that the keyring does not hold, or that cannot be had now
├── PayloadNotFound      the object is gone (also a KeyError)
├── LimitExceeded        larger than a limit that was set
├── CheckpointConflict   two writers of one run: the other one saved since this one last looked
└── StoreError           the store did not do what it was asked
    ├── StoreUnavailable   it may later: down, throttled, timed out, disk full
    └── StoreDenied        it will not: credentials or permissions
"""

from typing import ClassVar, Self


class CoatcheckError(Exception):
    """The root: says what happened, to which object, and what to do.

    Args:
        what: What happened, without a full stop. Never holds payload bytes or key material.
        todo: What the reader can do about it, a sentence.
        object_id: The object it happened to, in hexadecimal; empty where there is none.
    """

    retryable: ClassVar[bool] = False
    """Whether the same call can succeed later without a change of code or configuration."""

    def __init__(self, what: str, todo: str = "", object_id: str = "") -> None:
        super().__init__(what, todo, object_id)
        self.what = what
        self.todo = todo
        self.object_id = object_id

    def about(self, object_id: str) -> Self:
        """The same error, naming the object unless it already names one."""
        self.object_id = self.object_id or object_id
        self.args = (self.what, self.todo, self.object_id, *self.args[3:])
        return self

    def __str__(self) -> str:
        about = f" [object {self.object_id}]" if self.object_id else ""
        return f"{self.what}{about}. {self.todo}".rstrip()


class ConfigError(CoatcheckError):
    """The chain, a keyring or a store is set up wrongly."""


class FormatError(CoatcheckError):
    """The bytes are no envelope or reference, or one of a version that this release cannot read."""


class IntegrityError(CoatcheckError):
    """The bytes are not what was sealed: tampered, swapped, truncated, damaged, or under another key."""


class KeyUnavailable(CoatcheckError):  # noqa: N818 - it is a state, not a mistake
    """The payload was sealed under a key that the keyring does not hold, or that cannot be had from its KMS now.

    An operator can add it, or enable it; a key that was destroyed on purpose is gone for good, and the message says so.
    """

    retryable = True


class PayloadNotFound(CoatcheckError, KeyError):  # noqa: N818 - it names what happened
    """The store has no such object. An operator may restore it."""

    retryable = True


class LimitExceeded(CoatcheckError):  # noqa: N818 - it names what happened
    """Something is larger than a limit that was set."""


class CheckpointConflict(CoatcheckError):  # noqa: N818 - it names what happened
    """Another writer saved to the run since this one last looked, or deleted it. Neither's state is lost.

    Retrying does not help: one of the two writers is one too many, or did not know of the other.

    Args:
        what: As in :class:`CoatcheckError`.
        todo: As in :class:`CoatcheckError`.
        object_id: As in :class:`CoatcheckError`.
        reference: The text of a reference to the state that could not be saved; empty if there is none.
    """

    def __init__(self, what: str, todo: str = "", object_id: str = "", reference: str = "") -> None:
        super().__init__(what, todo, object_id)
        self.args = (what, todo, object_id, reference)
        self.reference = reference


class StoreError(CoatcheckError):
    """The store did not do what it was asked."""


class StoreUnavailable(StoreError):  # noqa: N818 - it names what happened
    """The store cannot answer now: down, throttled, timed out, or full. Worth retrying.

    Args:
        what: As in :class:`CoatcheckError`.
        todo: As in :class:`CoatcheckError`.
        object_id: As in :class:`CoatcheckError`.
        retry_after: Seconds that the store asked to be left alone (``Retry-After``); None if it did not say.
    """

    retryable = True

    def __init__(
        self, what: str, todo: str = "", object_id: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(what, todo, object_id)
        self.args = (what, todo, object_id, retry_after)
        self.retry_after = retry_after


class StoreDenied(StoreError):  # noqa: N818 - it names what happened
    """The store refuses: credentials or permissions. Retrying does not help."""


def readable_error(error: BaseException) -> CoatcheckError | None:
    """Return the error of coatcheck whose message this exception has; None if it has another one.

    That is the error itself, or the one that an integration raised an engine's exception from. Its message holds no
    payload, so an engine may journal it in the clear where messages of other errors are sealed: who has to read it is
    often who lacks the key.
    """
    if isinstance(error, CoatcheckError):
        return error
    cause = error.__cause__
    if isinstance(cause, CoatcheckError) and str(error) in {str(cause), f"{type(cause).__name__}: {cause}"}:
        return cause
    return None
