"""All errors that coatcheck raises.

CoatcheckError
├── ConfigError          the chain, a keyring or a store is set up wrongly
├── FormatError          the bytes are not an envelope or reference of a known version
├── IntegrityError       tampered, swapped, damaged, or sealed under another key
├── KeyUnavailable       sealed under a key that this process does not have, or cannot have now
│   ├── KeyDestroyed       for good: the key was destroyed on purpose
│   └── KeyServiceError    the key service (KMS) is away or overloaded, or refuses
├── PayloadNotFound      the object does not exist (also a KeyError)
├── LimitExceeded        larger than a configured limit
├── CheckpointConflict   another writer saved to the same run
├── EngineError          the engine's server is away, refuses, or answered wrongly
└── StoreError           the store failed
    ├── StoreUnavailable   for now: down, throttled, timed out, disk full
    └── StoreDenied        until someone fixes it: credentials or permissions
"""

from typing import ClassVar, Self


class CoatcheckError(Exception):
    """The base class of all errors. The message says what happened, to which object, and what to do.

    Args:
        what: What happened, without a full stop. Never contains payload bytes or key material.
        todo: What the reader can do about it, in full sentences.
        object_id: The affected object, in hexadecimal; empty if there is none.
        retryable: True if the same call can succeed later without a change of code or configuration; None for what is
            usual for this kind of error.
    """

    _usually_retryable: ClassVar[bool] = False

    def __init__(
        self, what: str, todo: str = "", object_id: str = "", *, retryable: bool | None = None
    ) -> None:
        super().__init__(what, todo, object_id)
        self.what = what
        self.todo = todo
        self.object_id = object_id
        self.retryable: bool = self._usually_retryable if retryable is None else retryable
        """True if the same call can succeed later without a change of code or configuration."""

    def about(self, object_id: str) -> Self:
        """Name the object in this error unless it already names one, and return it.

        Args:
            object_id: In hexadecimal, or another key in the store.
        """
        self.object_id = self.object_id or object_id
        self.args = (self.what, self.todo, self.object_id)
        return self

    def __str__(self) -> str:
        about = f" [object {self.object_id}]" if self.object_id else ""
        return f"{self.what}{about}. {self.todo}".rstrip()


class ConfigError(CoatcheckError):
    """The chain, a keyring or a store is set up wrongly."""


class FormatError(CoatcheckError):
    """The bytes are not an envelope or reference, or are of a version that this release cannot read."""


class IntegrityError(CoatcheckError):
    """The bytes are not the ones that were sealed: tampered, swapped, truncated, damaged, or under another key."""


class KeyUnavailable(CoatcheckError):  # noqa: N818 - it is a state, not a mistake
    """The payload was sealed under a key that this process does not have, or cannot have now.

    Retryable, since an operator can add or enable the key meanwhile. This is the base of everything for which a payload
    cannot be opened or sealed for lack of a key, so one ``except KeyUnavailable`` catches all of it.
    """

    _usually_retryable = True


class KeyDestroyed(KeyUnavailable):
    """The key was destroyed on purpose, as by ``coatcheck keys shred``. What was sealed under it is gone for good.

    Never retryable, and the only error that nobody can mend.
    """

    def __init__(self, what: str, todo: str = "", object_id: str = "") -> None:
        super().__init__(what, todo, object_id, retryable=False)


class KeyServiceError(KeyUnavailable):
    """The key service (KMS) that has to wrap or unwrap the key is away or overloaded; or it refuses.

    Retryable, unless the service refuses: credentials or permissions.

    Args:
        what: As in :class:`CoatcheckError`.
        todo: As in :class:`CoatcheckError`.
        object_id: As in :class:`CoatcheckError`.
        retry_after: Seconds to wait, as requested by the service; None if it did not say.
        retryable: As in :class:`CoatcheckError`.
    """

    def __init__(
        self,
        what: str,
        todo: str = "",
        object_id: str = "",
        retry_after: float | None = None,
        *,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(what, todo, object_id, retryable=retryable)
        self.retry_after = retry_after


class PayloadNotFound(CoatcheckError, KeyError):  # noqa: N818 - it names what happened
    """The object does not exist. Retryable, since an operator may be able to restore it."""

    _usually_retryable = True


class LimitExceeded(CoatcheckError):  # noqa: N818 - it names what happened
    """Something is larger than a configured limit."""


class CheckpointConflict(CoatcheckError):  # noqa: N818 - it names what happened
    """Another writer has saved to the run or deleted it since this one last read it. No state is lost.

    Retrying does not help: two writers use one run, and should not, or do not know of each other.

    Args:
        what: As in :class:`CoatcheckError`.
        todo: As in :class:`CoatcheckError`.
        object_id: As in :class:`CoatcheckError`.
        reference: The reference to the state that was not saved, as text; empty if there is none.
    """

    def __init__(self, what: str, todo: str = "", object_id: str = "", reference: str = "") -> None:
        super().__init__(what, todo, object_id)
        self.reference = reference


class EngineError(CoatcheckError):
    """The engine's server is away, refuses, or answered something that cannot be its answer.

    Retryable, unless the server refuses: there is no such workflow or namespace, or the credentials lack a permission.
    """

    _usually_retryable = True


class StoreError(CoatcheckError):
    """The store failed to do what it was asked."""


class StoreUnavailable(StoreError):  # noqa: N818 - it names what happened
    """The store is down, throttled, timed out, or full. Retryable.

    Args:
        what: As in :class:`CoatcheckError`.
        todo: As in :class:`CoatcheckError`.
        object_id: As in :class:`CoatcheckError`.
        retry_after: Seconds to wait, as requested by the store (``Retry-After``); None if it did not say.
        retryable: As in :class:`CoatcheckError`.
    """

    _usually_retryable = True

    def __init__(
        self,
        what: str,
        todo: str = "",
        object_id: str = "",
        retry_after: float | None = None,
        *,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(what, todo, object_id, retryable=retryable)
        self.retry_after = retry_after


class StoreDenied(StoreError):  # noqa: N818 - it names what happened
    """The store refuses: credentials or permissions. Not retryable."""


def is_outage(error: BaseException) -> bool:
    """Return True if a service is away or overloaded: it comes back by itself, and nothing has to be mended here.

    A narrower question than ``retryable``, which is also True if somebody can restore an object or add a key meanwhile.
    """
    return isinstance(error, StoreUnavailable | KeyServiceError | EngineError) and error.retryable


def readable_error(error: BaseException) -> CoatcheckError | None:
    """Return the coatcheck error that this exception shows the message of; None if there is none.

    This is the exception itself, or the cause from which an integration raised an engine's exception. The message
    contains no payload, so an engine may journal it in the clear, while messages of other errors are sealed. The person
    who has to read it often has no key.
    """
    if isinstance(error, CoatcheckError):
        return error
    cause = error.__cause__
    if isinstance(cause, CoatcheckError) and str(error) in {str(cause), f"{type(cause).__name__}: {cause}"}:
        return cause
    return None
