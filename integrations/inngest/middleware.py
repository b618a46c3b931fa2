"""The middleware: what the SDK calls on every request, and on every event that is sent."""

import inspect
import logging
import sys
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, Final

import inngest

from coatcheck.chain import Chain
from coatcheck.errors import CoatcheckError, ConfigError
from coatcheck.integrations.inngest.clear import ClearFields, Use, uses_of
from coatcheck.integrations.inngest.events import Events, SealedData
from coatcheck.integrations.inngest.failures import open_message, seal_error
from coatcheck.integrations.inngest.hosts import Budget, Host
from coatcheck.integrations.inngest.marker import sealed_in_message, to_json
from coatcheck.integrations.inngest.parallel import SealingGroup, SealingGroupSync
from coatcheck.integrations.inngest.payloads import FormatReader, Payloads
from coatcheck.integrations.inngest.step_report import StepReport, StepReports
from coatcheck.keys.lease import KeyLease
from coatcheck.offload import DEFAULT_THRESHOLD
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.runtime.portal import run_blocking
from coatcheck.scope import Scope

_RUN: Final = "StepRun"
_INVOKE: Final = "InvokeFunction"
_INFER: Final = "AIGateway"
_RETRIES: Final = 4
"""Retries of a function that does not set their number."""

_log = logging.getLogger("coatcheck.inngest")


def claim_check(
    chain: Chain,
    *,
    tenant: str = "default",
    over: int = DEFAULT_THRESHOLD,
    clear: Collection[str] = (),
    plain_events: Collection[str] = (),
    limit: Host | int = "inngest",
    read_also: Sequence[FormatReader] = (),
) -> "ClaimCheck":
    """Take payloads out of Inngest's run state: ``inngest.Inngest(app_id=..., middleware=[claim_check(chain)])``.

    For sync and async functions alike. It must be the only middleware that changes steps' results or events. ``docs/inngest.md``
    says what it covers, and what no hook of the SDK covers.

    Args:
        chain: The chain for all payloads.
        tenant: The tenant that the payloads belong to.
        over: Bytes of JSON that one value may take in the run state; larger ones are offloaded, if the chain has a store.
        clear: Fields of event data that expressions and keys refer to, by their names below the data: ``order``, or
            ``order.id``. They are sent in the clear beside the sealed data; functions get the sealed data. A function that
            refers to any other field is refused: see :meth:`ClaimCheck.checked`.
        plain_events: With ``Encrypt(..., accept_plain=False)``: names of events that may come in the clear, since senders
            outside have no chain. All others, and every result of a step or a function, must be sealed.
        limit: Limit of a run's state: bytes, or the name of the owner of a known limit. Above half of it values smaller
            than ``over`` are offloaded, too.
        read_also: Readers of other middleware's formats, for runs that are still open.

    Raises:
        ConfigError: ``clear`` has a reserved name or not a path below the data, ``limit`` is not one, or the chain accepts only
            sealed payloads and ``read_also`` is not empty.
    """
    payloads = Payloads(chain, tenant, over, read_also)
    return ClaimCheck(payloads, ClearFields(clear), Budget(limit), plain_events)


class ClaimCheck:
    """Factory with which the SDK makes its middleware, from :func:`claim_check`. Thread-safe.

    Args:
        payloads: Seals and opens the values.
        clear: Fields of events that stay in the clear.
        budget: Budget of a run's state.
        plain_events: Names of events that may come in the clear.
    """

    def __init__(
        self,
        payloads: Payloads,
        clear: ClearFields,
        budget: Budget,
        plain_events: Collection[str] = (),
    ) -> None:
        self.payloads = payloads
        self._clear = clear
        self._checked: set[str] = set()
        self.events = Events(payloads, clear, plain_events)
        self.budget = budget
        self.reports = StepReports()

    def __call__(self, client: inngest.Inngest, raw_request: object) -> inngest.MiddlewareSync:
        """Make the middleware of a request. Called by the SDK."""
        return _ClaimCheckMiddleware(self, client, raw_request)

    def checked(self, functions: Iterable[inngest.Function[Any]]) -> list[inngest.Function[Any]]:
        """Return the functions, if all that their expressions and keys refer to stays in the clear.

        For the start: ``inngest.fast_api.serve(app, client, check.checked([agent, tools]))``. What is not checked then is
        checked when the function is called for the first time.

        Raises:
            ConfigError: A field is sealed, or an expression cannot be parsed. Names the function, the expression and the field.
        """
        functions = list(functions)
        for function in functions:
            self.check(function)
        return functions

    def check(self, function: inngest.Function[Any]) -> None:
        """Refuse a function as :meth:`checked` does; once for each."""
        if function.id not in self._checked:
            config: Any = function.get_config("http://localhost").main
            for use in uses_of(config):
                self.check_use(function.local_id, use)
            self._checked.add(function.id)

    def check_use(self, function: str, use: Use) -> None:
        """Refuse one expression as :meth:`checked` does. A chain that only reads leaves events in the clear."""
        if not self.payloads.chain.decode_only:
            self._clear.check(function, use)

    async def wrap(self, value: object) -> Any:
        """Seal a value by hand, where no hook sees it; return a JSON object that :meth:`unwrap` opens in any run.

        Raises:
            CoatcheckError: As :meth:`Chain.encode`.
        """
        return await self.payloads.seal(value, self.payloads.shared)

    async def unwrap(self, value: object) -> Any:
        """Return the value that :meth:`wrap` was given; ``value`` itself if it is not such an object and the chain accepts it.

        Also opens the message of an error as a dashboard shows it: ``coatcheck:...``.

        Raises:
            CoatcheckError: As :meth:`Chain.open`, and as :meth:`Chain.check_plain`.
        """
        if isinstance(value, str) and sealed_in_message(value) is not None:
            return await open_message(self.payloads, value, self.payloads.shared)
        return await self.payloads.open(value, self.payloads.shared)

    def wrap_sync(self, value: object) -> Any:
        """Do :meth:`wrap` in a sync function."""
        return run_blocking(self.wrap(value))

    def unwrap_sync(self, value: object) -> Any:
        """Do :meth:`unwrap` in a sync function."""
        return run_blocking(self.unwrap(value))

    def step_report(self, run: str) -> StepReport:
        """Return the cost of a run so far, as seen by this process; ``ctx.run_id`` is its ID."""
        return self.reports.of(run)


class _ClaimCheckMiddleware(inngest.MiddlewareSync):
    """Middleware of one request.

    Its hooks are plain functions, since the SDK lets no async middleware serve sync functions; for async functions they
    return an awaitable, which the SDK awaits.
    """

    def __init__(self, check: ClaimCheck, client: inngest.Inngest, raw_request: object) -> None:
        super().__init__(client, raw_request)
        self._check = check
        self._keys = KeyLease()
        self._is_last_attempt = True
        self._payloads = check.payloads
        self._events = check.events
        self._budget = check.budget
        self._reports = check.reports
        self._run = ""
        self._function = ""
        self._state = 0
        self._is_async = False
        self._sent: list[inngest.Event] = []

    def transform_input(
        self,
        ctx: inngest.Context | inngest.ContextSync,
        function: inngest.Function[Any],
        steps: inngest.StepMemos,
    ) -> Any:
        """Open the function's input. Called by the SDK."""
        self._is_async = isinstance(ctx, inngest.Context)
        self._run = ctx.run_id
        self._function = function.local_id
        self._check.check(function)
        self._is_last_attempt = ctx.attempt >= _retries_of(function)
        # From here on for all that the function does, and for what it comes to.
        self._keys.begin()
        step: Any = ctx.step
        step.wait_for_event = self._checking(step.wait_for_event, function.local_id, ctx.event.name)
        group: Any = (SealingGroup if self._is_async else SealingGroupSync)(ctx.group, self._seal_planned)
        ctx.group = group
        return self._await(self._open(ctx, list(steps.values())), is_async=self._is_async)

    def transform_output(self, result: inngest.TransformOutputResult) -> Any:
        """Seal the result of a function or a step. Called by the SDK."""
        return self._await(self._seal_or_end(result), is_async=self._is_async)

    def before_response(self) -> None:
        """Release the keys, since all is sealed. Called by the SDK."""
        self._keys.end()

    def before_send_events(self, events: list[inngest.Event]) -> Any:
        """Seal events before they are sent. Called by the SDK."""
        # It does not say whether it will await: that is so if the caller is a coroutine. A mistake here would send the
        # data in the clear.
        is_async = bool(sys._getframe(1).f_code.co_flags & inspect.CO_COROUTINE)  # noqa: SLF001 - as inspect does
        return self._await(self._seal_events(events), is_async=is_async)

    def after_send_events(self, result: inngest.SendEventsResult) -> None:  # noqa: ARG002 - the SDK's signature
        """Give the sender's event objects their own data back. Called by the SDK."""
        for event in self._sent:
            if isinstance(event.data, SealedData):
                event.data = event.data.original
        self._sent.clear()

    def _await(self, work: Coroutine[Any, Any, None], *, is_async: bool) -> Any:
        work = self._in_inngests_terms(work)
        return work if is_async else run_blocking(work)

    async def _in_inngests_terms(self, work: Coroutine[Any, Any, None]) -> None:
        """Mark errors that no retry can fix. A configuration can be corrected while Inngest retries."""
        try:
            await work
        except CoatcheckError as error:
            if error.retryable or isinstance(error, ConfigError):
                raise
            raise inngest.NonRetriableError(f"{type(error).__name__}: {error}") from error

    def _checking(self, wait: Callable[..., Any], function: str, trigger: str) -> Callable[..., Any]:
        """Return a ``step.wait_for_event`` that refuses an expression on sealed fields."""

        def wait_for_event(step_id: str, *, event: str, if_exp: str | None = None, **options: Any) -> Any:
            if if_exp:
                events = {"event": [trigger], "async": [event]}
                self._check.check_use(function, Use(f"the step {step_id!r}", if_exp, events))
            return wait(step_id, event=event, if_exp=if_exp, **options)

        return wait_for_event

    async def _open(self, ctx: inngest.Context | inngest.ContextSync, memos: Sequence[Any]) -> None:
        scope = self._payloads.run(ctx.run_id)
        await self._payloads.load_key()
        size = sum(_size(memo.data) for memo in memos) + sum(_size(event.data) for event in ctx.events)
        self._state = size
        self._reports.requested(ctx.run_id, steps=len(memos), attempt=ctx.attempt, size=size)
        # The events first: what resumed the run may be a delta against what triggered it.
        await all_at_once(self._open_event(event, scope) for event in (ctx.event, *ctx.events))
        opened = await self._payloads.open_all([memo.data for memo in memos], scope)
        await all_at_once(
            self._open_memo(memo, data, scope) for memo, data in zip(memos, opened, strict=True)
        )

    async def _open_event(self, event: inngest.Event, scope: Scope) -> None:
        event.data = await self._events.open(event.name, event.data, scope)

    async def _open_memo(self, memo: Any, data: Any, scope: Scope) -> None:
        # What resumed a wait_for_event stands there as it is: an event, which is nobody's marked value.
        is_event = data is memo.data and isinstance(data, dict) and {"name", "data"} <= data.keys()
        if not is_event:
            self._payloads.check_plain(memo.data, data, "the result of a step")
        memo.data = await self._events.open_event(data, scope) if is_event else data
        if memo.error is not None:
            said = await open_message(self._payloads, memo.error.message, scope)
            if said != memo.error.message:
                memo.error.message, memo.error.stack = said, None

    async def _seal_or_end(self, result: inngest.TransformOutputResult) -> None:
        try:
            await self._seal(result)
        except BaseException:
            self._keys.end()
            raise

    async def _seal(self, result: inngest.TransformOutputResult) -> None:
        step = result.step
        is_retriable = getattr(result.error, "is_retriable", True)
        if result.error is not None:
            result.error = await seal_error(self._payloads, result.error)
        elif step is None:
            if result.has_output():
                await self._seal_output(result, f"function:{self._function}", step=False)
        elif step.op.value == _RUN:
            await self._seal_output(result, f"step:{step.id}", step=True)
        else:
            await self._seal_planned(step)
        if step is None and (result.error is None or self._is_last_attempt or not is_retriable):
            self._reports.ended(self._run)

    async def _seal_output(self, result: inngest.TransformOutputResult, name: str, *, step: bool) -> None:
        try:
            data = to_json(result.output)
        except (TypeError, ValueError, RecursionError):
            return  # the SDK has no JSON for it either, and says so in its own words
        result.output = await self._payloads.seal_result(
            data,
            result.output,
            self._payloads.run(self._run) if step else self._payloads.shared,
            name=name,
            scarce=self._budget.is_scarce(self._state),
        )
        self._reports.answered(self._run, _size(result.output), step=step)

    async def _seal_planned(self, step: Any) -> None:
        """Seal, in place, the values that a step gives to Inngest itself."""
        if step.op.value == _INFER and self._payloads.chain.encrypts:
            _log.warning(
                "step.ai.infer sends its request and returns its answer in the clear, since Inngest makes "
                "the call. Call the model in a step of your own to keep both sealed."
            )
        payload = (step.opts or {}).get("payload") if step.op.value == _INVOKE else None
        if isinstance(payload, dict) and isinstance(payload.get("data"), dict):
            data = payload["data"]
            payload["data"] = await self._events.seal(data, original=data, name=f"step:{_id_of(step)}")

    async def _seal_events(self, events: list[inngest.Event]) -> None:
        self._sent += events
        for event in events:
            if not isinstance(event.data, SealedData):
                # As the SDK will: it has JSON for more than Python's own module has.
                data = event.model_dump(mode="json")["data"]
                event.data = await self._events.seal(data, original=event.data, name=f"event:{event.name}")


def _id_of(step: Any) -> str:
    """Return the ID that the function gave a step. What the SDK plans in parallel has a hash of it as its own ID."""
    return str(getattr(step, "display_name", step.id))


def _retries_of(function: inngest.Function[Any]) -> int:
    config: Any = function.get_config("http://localhost").main
    retries = next(iter(config.steps.values())).retries
    return _RETRIES if retries is None else int(retries.attempts)


def _size(value: object) -> int:
    """Return the bytes of a JSON value."""
    return len(to_json(value))
