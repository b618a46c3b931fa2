"""A chain for the handlers of durable functions."""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial, wraps
from typing import Any, Final

from aws_durable_execution_sdk_python import DurableContext, durable_execution
from aws_durable_execution_sdk_python.serdes import EXTENDED_TYPES_SERDES, SerDes

from coatcheck.chain import Chain
from coatcheck.integrations.aws_durable.context import ClaimCheckContext
from coatcheck.integrations.aws_durable.form import read_value
from coatcheck.integrations.aws_durable.invocation import MOST_INLINE, Invocation
from coatcheck.integrations.aws_durable.patience import Patience
from coatcheck.integrations.aws_durable.savings import Savings
from coatcheck.integrations.aws_durable.scopes import execution_scope
from coatcheck.integrations.aws_durable.serdes import ClaimCheckSerDes
from coatcheck.scope import Scope

_PATIENCE: Final = timedelta(hours=6)


class ClaimCheck:
    """Takes values out of the checkpoints of durable functions: ``@ClaimCheck(chain).durable_execution``.

    Handlers stay as they are. ``docs/aws-durable.md`` says what is encoded where, and in which scope.

    Args:
        chain: Every value's path.
        tenant: Whose values they are: what was written for one tenant is opened for no other.
        patience: Time for which an execution that makes no progress is retried while a store or a key cannot be reached.
            After that it fails, with an error that says why.

    Raises:
        ConfigError: ``tenant`` is empty.
    """

    def __init__(self, chain: Chain, *, tenant: str = "default", patience: timedelta = _PATIENCE) -> None:
        self._chain = chain
        self._scope = Scope(tenant)
        self._patience = patience

    def durable_execution(
        self,
        func: Callable[[Any, DurableContext], Any] | None = None,
        *,
        boto3_client: Any = None,
        plugins: list[Any] | None = None,
    ) -> Any:
        """Make a handler as the SDK's ``durable_execution`` does: every operation of it goes through the chain.

        So does its result, and its event is opened: they are read and made by another function with the chain, or by
        :meth:`load` and :meth:`dump`.

        Args:
            func: The function; none to get a decorator.
            boto3_client: As the SDK.
            plugins: As the SDK.
        """
        if func is None:
            return partial(self.durable_execution, boto3_client=boto3_client, plugins=plugins)
        # The SDK runs the function in a thread without the caller's context: what both have is the Lambda context.
        running: dict[int, Invocation] = {}

        def run(event: Any, context: DurableContext) -> Any:
            scope = execution_scope(self._scope.tenant, context.execution_context.durable_execution_arn)
            invocation = self._invocation(context)
            running[id(context.lambda_context)] = invocation
            invocation.begin(scope, is_replay=context.is_replaying())
            result = func(self._opened(event, invocation), ClaimCheckContext.adopt(context, invocation))
            return self._sealed(result, scope, invocation)

        handler = durable_execution(wraps(func)(run), boto3_client=boto3_client, plugins=plugins)

        @wraps(func)
        def invoked(event: Any, lambda_context: Any) -> Any:
            try:
                return handler(event, lambda_context)
            finally:
                # After the SDK has waited for branches that outlive the function.
                invocation = running.pop(id(lambda_context), None)
                if invocation is not None:
                    invocation.end()

        return invoked

    def serdes(self, inner: SerDes[Any] = EXTENDED_TYPES_SERDES, *, name: str = "") -> SerDes[Any]:
        """Return a serialization for single operations of a handler that has the SDK's own decorator.

        It knows nothing of the invocation: it waits for the store no longer than one call takes, and needs a
        :class:`~coatcheck.Keyring`.

        Args:
            inner: Makes text of values.
            name: What they are, for the chain's rules.
        """
        return ClaimCheckSerDes(inner, self._alone(), name)

    def dump(self, value: Any, *, execution: str = "") -> str:
        """Return JSON for an event, or for the result of a callback, whatever the size of ``value``. What it refers to is durable.

        Args:
            value: JSON as Python has it.
            execution: The ARN of the execution that gets it, if there is one already: it is then deleted with it. Else it
                belongs to the tenant.

        Raises:
            RetryableSerDesError: It cannot be stored now.
            SerDesError: It cannot be stored at all.
        """
        scope = execution_scope(self._scope.tenant, execution) if execution else self._scope
        return self._alone().encode(json.dumps(value), scope, "event", MOST_INLINE)

    def load(self, text: str | bytes) -> Any:
        """Return the value behind the result of an execution, as JSON has it.

        Raises:
            RetryableSerDesError: It cannot be read now.
            SerDesError: It was changed, belongs to somebody else, or is in the clear where the chain takes only what is sealed.
        """
        text = text.decode() if isinstance(text, bytes) else text
        return json.loads(self._alone().decode(text, self._scope, "the result of an execution"))

    def _alone(self) -> Invocation:
        return Invocation(self._chain, self._scope.tenant, Patience(self._patience), Savings(""))

    def _invocation(self, context: DurableContext) -> Invocation:
        lambda_context = context.lambda_context
        return Invocation(
            self._chain,
            self._scope.tenant,
            Patience(self._patience, lambda: context.state.operations),
            Savings(context.execution_context.durable_execution_arn),
            (lambda: lambda_context.get_remaining_time_in_millis() / 1000) if lambda_context else None,
        )

    def _opened(self, event: Any, invocation: Invocation) -> Any:
        """Return the event that a function was invoked with; there may be none, which says nothing."""
        if event == {}:
            return event
        if read_value(event) is None:
            invocation.decode("", self._scope, "the event")
            return event
        return json.loads(invocation.decode(json.dumps(event), self._scope, "the event"))

    def _sealed(self, result: Any, scope: Scope, invocation: Invocation) -> Any:
        text = json.dumps(result)
        written = invocation.encode(text, scope, "result", MOST_INLINE)
        return result if written == text else json.loads(written)
