"""The journal value codec."""

from collections.abc import Collection

from restate import JournalValueCodec, TerminalError
from restate.exceptions import SdkInternalException
from restate.server_context import restate_context_is_replaying

from coatcheck.chain import Chain
from coatcheck.errors import CoatcheckError, FormatError, IntegrityError, KeyDestroyed, LimitExceeded
from coatcheck.format.wire import is_ours, is_reference
from coatcheck.integrations.restate.attempt import check_lease, flush
from coatcheck.integrations.restate.durability_gate import current_gate
from coatcheck.integrations.restate.scopes import current_name, current_scope, names_of_input
from coatcheck.scope import Scope

_FOR_GOOD = (FormatError, IntegrityError, LimitExceeded)
"""Errors that a handler may see: only the value itself can be mended."""
_TOO_LARGE = 413
_GONE = 410


class ClaimCheckCodec(JournalValueCodec):
    """Puts journal values through a chain.

    Payloads are offloaded only behind a gate. Elsewhere they are sealed inline, which is always safe.

    Args:
        chain: The chain for all values.
        tenant: The tenant that the values belong to.
        plain_inputs: Services (``Service``) and handlers (``Service/handler``) whose inputs may come in the clear, if
            nothing else may.
    """

    def __init__(self, chain: Chain, tenant: str, plain_inputs: Collection[str] = ()) -> None:
        self._chain = chain
        self._plain_inputs = frozenset(plain_inputs)
        self._tenant = Scope(tenant)

    def encode(self, buf: bytes) -> bytes:
        """Return the bytes to journal in place of ``buf``. Called by the SDK, on the event loop.

        Above 48 KB only a hash is computed here; all other work is done in a thread, before the gate releases the
        reference.

        Raises:
            ConfigError: The chain loads keys, and this is part of no attempt that holds them.
            TerminalError: The value is larger than the chain's ``max_payload``; running a step again would not help.
        """
        if not buf or self._chain.decode_only:
            return buf
        check_lease(self._chain)
        data = bytes(buf)
        scope, gate = current_scope(self._tenant.tenant), current_gate()
        try:
            if gate is None:
                return self._chain.seal_inline(data, scope)
            is_replay = restate_context_is_replaying.get()
            upload = self._chain.begin_upload(data, scope, is_replay=is_replay, name=current_name())
        except LimitExceeded as error:
            raise TerminalError(str(error), _TOO_LARGE) from error
        return upload if isinstance(upload, bytes) else gate.begin(upload)

    async def decode(self, buf: bytes) -> bytes:
        """Return the value that ``buf`` stands for; ``buf`` itself if it is not ours. Called by the SDK.

        Raises:
            TerminalError: Its key was destroyed: no attempt can ever read it.
            CoatcheckError: It was tampered with, is too large, or came in the clear where the chain takes only what is
                sealed. On a handler's input that ends the invocation.
            SdkInternalException: It cannot be read now. The attempt was given up, and the server makes another one.
        """
        if not is_ours(buf):
            # What is empty says nothing: it is how the SDK has void, in both directions.
            if buf and not self._may_be_plain(buf):
                self._chain.check_plain("a value of a handler")
            return buf
        gate = current_gate()
        if gate is not None and is_reference(buf):
            payload = gate.being_written(buf)
            if payload is not None:
                return payload
        try:
            return await self._chain.open(buf, self._tenant)
        except CoatcheckError as error:
            if gate is None or isinstance(error, _FOR_GOOD):
                raise
            if isinstance(error, KeyDestroyed):
                raise TerminalError(str(error), _GONE) from error
            # Steps that are done come first: an attempt that is given up with their results would run them again.
            await flush()
            await gate.settled()
            await gate.fail(error)
            raise SdkInternalException from error

    def _may_be_plain(self, buf: bytes) -> bool:
        """Tell if it is the input of a handler that callers without the chain may call."""
        return bool(self._plain_inputs) and not self._plain_inputs.isdisjoint(names_of_input(buf))
