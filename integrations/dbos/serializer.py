"""The serializer: values on their way into DBOS's system database and back, on a chain."""

import asyncio
import base64
import logging
import pickle
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from dbos import DBOSPortableJSONSerializer, Serializer

from coatcheck.chain import Chain
from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    FormatError,
    KeyUnavailable,
    LimitExceeded,
    StoreError,
)
from coatcheck.format.shown import MESSAGE, sealed_of, text_of
from coatcheck.format.wire import is_ours, is_reference
from coatcheck.integrations.dbos.recent import RecentReferences
from coatcheck.integrations.dbos.scopes import current_scope
from coatcheck.runtime.clock import boottime
from coatcheck.scope import Scope

_T = TypeVar("_T")

NAME: Final = "coatcheck"
"""Name of the format in the database, where there is no serializer underneath."""
_BYPASSED: Final = ("py_pickle", DBOSPortableJSONSerializer().name())
"""Names of formats for which DBOS asks no serializer."""
_ESCAPED: Final = f"{MESSAGE}="
"""Prefix of a text that stays as it is but could be mistaken for ours. No base64 begins with ``=``."""
_PICKLE: Final = 5
"""Protocol of pickles: the same with every Python, so that the same value has the same bytes."""
_PAUSE: Final = 1.0

_log = logging.getLogger("coatcheck.dbos")


class ClaimCheckSerializer(Serializer):
    """Puts everything that DBOS serializes through a chain. One serves any number of threads and event loops.

    Values are written for the workflow that the caller is part of, and read with the tenant's rights, since DBOS hands them
    from workflow to workflow and copies them to forks.

    Args:
        chain: The chain for all values.
        tenant: The tenant that the values belong to.
        inner: Makes text of values; by default they are pickled, as DBOS does itself. The rows then have its name, so that
            its older ones are read as well.
        patience: Seconds for which threads wait for a store or a key service that does not answer, before a workflow that
            needs a value fails. An event loop never waits longer than the store's own deadline.

    Raises:
        ConfigError: DBOS reads what ``inner`` writes without asking any serializer.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        tenant: str = "default",
        inner: Serializer | None = None,
        patience: float = 600.0,
    ) -> None:
        if inner is not None and inner.name() in _BYPASSED:
            raise ConfigError(
                f"DBOS reads rows of {inner.name()} itself, without asking its serializer",
                "Leave inner out: values are then pickled. Or give the inner serializer a name of its own.",
            )
        self._chain = chain
        self._tenant = Scope(tenant)
        self._inner = inner
        self._patience = patience
        self._recent = RecentReferences()
        self._away_since: float | None = None
        """The moment at which a store or key service did not answer for the first time since it last did."""

    def name(self) -> str:
        """Return the name of the format, which DBOS keeps in each row."""
        return NAME if self._inner is None else self._inner.name()

    def serialize(self, data: Any) -> str:
        """Return the text for the database. What it refers to is durable.

        A value that the store does not accept is sealed into the text itself: the step that made it is done, and must
        not run again.

        Raises:
            LimitExceeded: The value is larger than the chain's ``max_payload``.
            KeyUnavailable: The tenant's key cannot be loaded, and has not been for ``patience`` seconds.
        """
        payload = self._dump(data)
        if self._chain.decode_only:
            return self._plain_text(payload)
        sealed = self._recent.find(payload) if self._chain.offloads else None
        if sealed is None:
            sealed = self._seal_on_loop(payload) if _is_on_loop() else self._seal(payload)
        if not is_ours(sealed):
            return self._plain_text(payload)
        self._remember(payload, sealed)
        return MESSAGE + text_of(sealed)

    def deserialize(self, serialized_data: str) -> Any:
        """Return the value that a text of the database stands for.

        Raises:
            FormatError: The text is damaged.
            IntegrityError: It is not what was sealed, was sealed for another tenant, or came in the clear where the chain
                takes only what is sealed.
            PayloadNotFound: The object that it refers to is gone.
            KeyUnavailable: Its key is not there, or could not be loaded for ``patience`` seconds.
            StoreError: The store refuses, or has not answered for ``patience`` seconds.
        """
        if not serialized_data.startswith(MESSAGE) or serialized_data.startswith(_ESCAPED):
            self._chain.check_plain("a value in DBOS's database")
            return self._load_plain(serialized_data)
        sealed = sealed_of(serialized_data.removeprefix(MESSAGE))
        if sealed is None:
            raise FormatError("a value in DBOS's database is damaged", "Restore the row from a backup.")
        payload = self._patiently(partial(self._chain.sync.decode, sealed, self._tenant))
        self._remember(payload, sealed)
        return self._load(payload)

    def _seal(self, payload: bytes) -> bytes:
        scope = current_scope(self._tenant.tenant, payload)
        try:
            return self._chain.sync.encode(payload, scope)
        except LimitExceeded:
            raise
        except CoatcheckError as error:
            _log.warning("A value is kept in the database, since the store does not accept it: %s", error)
            return self._patiently(partial(self._chain.sync.encode, payload, scope, inline=True))

    def _seal_on_loop(self, payload: bytes) -> bytes:
        """Seal without a request, unless a key has yet to be loaded: everything else on the event loop would wait for it."""
        scope = current_scope(self._tenant.tenant, payload)
        try:
            begun = self._chain.begin_upload(payload, scope)
        except KeyUnavailable:
            self._chain.sync.load_keys(scope.tenant)
            begun = self._chain.begin_upload(payload, scope)
        if isinstance(begun, bytes):
            return begun
        return begun.reference if begun.is_durable else self._chain.seal_inline(payload, scope)

    def _patiently(self, call: Callable[[], _T]) -> _T:
        """Repeat a call that fails for now, in a thread that may wait."""
        while True:
            try:
                result = call()
            except CoatcheckError as error:
                if _is_on_loop() or not self._may_pass(error):
                    raise
                away_since = self._away_since = self._away_since or boottime()
                # A thread that waits holds up the end of the process.
                if boottime() - away_since >= self._patience or not threading.main_thread().is_alive():
                    raise
                _log.warning("A workflow waits for a value: %s", error)
            else:
                self._away_since = None
                return result
            time.sleep(min(_PAUSE, self._patience))

    def _may_pass(self, error: CoatcheckError) -> bool:
        if isinstance(error, KeyUnavailable):
            return self._chain.loads_keys
        return isinstance(error, StoreError) and error.retryable

    def _remember(self, payload: bytes, sealed: bytes) -> None:
        if is_reference(sealed):
            self._recent.add(payload, sealed)

    def _dump(self, data: Any) -> bytes:
        if self._inner is None:
            return pickle.dumps(data, _PICKLE)
        return self._inner.serialize(data).encode("utf-8", "surrogatepass")

    def _load(self, payload: bytes) -> Any:
        if self._inner is None:
            return pickle.loads(payload)  # noqa: S301 - DBOS's own format; what is sealed was written by who has the key
        return self._inner.deserialize(payload.decode("utf-8", "surrogatepass"))

    def _plain_text(self, payload: bytes) -> str:
        """Return a payload that the chain left as it is as text."""
        if self._inner is None:
            return base64.b64encode(payload).decode()
        text = payload.decode("utf-8", "surrogatepass")
        return _ESCAPED + text if text.startswith(MESSAGE) else text

    def _load_plain(self, text: str) -> Any:
        if self._inner is None:
            return pickle.loads(base64.b64decode(text))  # noqa: S301 - DBOS's own format, where the chain accepts it
        return self._inner.deserialize(text.removeprefix(_ESCAPED))


def _is_on_loop() -> bool:
    return asyncio._get_running_loop() is not None  # noqa: SLF001 - as asyncio's own run() asks
