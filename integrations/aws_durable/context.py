"""The context of a handler, with a chain for every operation."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

from aws_durable_execution_sdk_python.config import (
    CallbackConfig,
    ChildConfig,
    InvokeConfig,
    MapConfig,
    NestingType,
    ParallelBranch,
    ParallelConfig,
    StepConfig,
)
from aws_durable_execution_sdk_python.context import PASS_THROUGH_SERDES, Callback, DurableContext
from aws_durable_execution_sdk_python.serdes import DEFAULT_JSON_SERDES, EXTENDED_TYPES_SERDES, SerDes
from aws_durable_execution_sdk_python.waits import WaitForConditionConfig

from coatcheck.errors import ConfigError
from coatcheck.integrations.aws_durable.invocation import MOST_INLINE, Invocation
from coatcheck.integrations.aws_durable.serdes import ClaimCheckSerDes, Plain

_Many = TypeVar("_Many", MapConfig[Any], ParallelConfig)


class ClaimCheckContext(DurableContext):
    """The SDK's context, whose operations put their values through a chain, at any depth.

    A ``serdes`` in the configuration of an operation makes the text that goes through the chain; a :class:`Plain` one is left
    alone.
    """

    invocation: Invocation
    """The work of the chain, for this context and all below it."""

    @classmethod
    def adopt(cls, context: DurableContext, invocation: Invocation) -> Self:
        """Return the same context, with a chain.

        Raises:
            ConfigError: ``context`` is of somebody else's class.
        """
        if type(context) is not DurableContext:
            raise ConfigError(
                f"the context is a {type(context).__qualname__}, not the SDK's own",
                "Use ClaimCheck.durable_execution in place of the SDK's decorator, once and outermost.",
            )
        # The same object: its counters, its lock and its logger, which asks it whether it replays, stay with it.
        context.__class__ = cls
        assert isinstance(context, cls)
        context.invocation = invocation
        return context

    def create_child_context(self, operation_id: str, *, is_virtual: bool = False) -> DurableContext:
        """Create a child context as the SDK does, with the chain of this one."""
        child = super().create_child_context(operation_id, is_virtual=is_virtual)
        return self.adopt(child, self.invocation)

    def step(
        self, func: Callable[..., Any], name: str | None = None, config: StepConfig | None = None
    ) -> Any:
        """Run a step as the SDK does."""
        config = config or StepConfig()
        title = self._title("step", name, func)
        return super().step(func, name, replace(config, serdes=self._sealing(config.serdes, title)))

    def create_callback(self, name: str | None = None, config: CallbackConfig | None = None) -> Callback[Any]:
        """Create a callback as the SDK does. Its result may come from anybody who has the tenant's key."""
        config = config or CallbackConfig()
        serdes = self._handed_on(config.serdes or PASS_THROUGH_SERDES, f"callback:{name or ''}")
        return super().create_callback(name, replace(config, serdes=serdes))

    def invoke(
        self,
        function_name: str,
        payload: Any,
        name: str | None = None,
        config: InvokeConfig[Any, Any] | None = None,
    ) -> Any:
        """Invoke another function as the SDK does. It gets, and returns, what any chain of the tenant opens."""
        config = config or InvokeConfig()
        title = f"invoke:{function_name}"
        config = replace(
            config,
            serdes_payload=self._handed_on(config.serdes_payload or DEFAULT_JSON_SERDES, title),
            serdes_result=self._handed_on(config.serdes_result or DEFAULT_JSON_SERDES, title),
        )
        return super().invoke(function_name, payload, name, config)

    def map(
        self,
        inputs: Sequence[Any],
        func: Callable[..., Any],
        name: str | None = None,
        config: MapConfig[Any] | None = None,
    ) -> Any:
        """Map as the SDK does."""
        config = config or MapConfig()
        return super().map(inputs, func, name, self._of_many(config, self._title("map", name, func)))

    def parallel(
        self,
        functions: Sequence[Callable[..., Any] | ParallelBranch[Any]],
        name: str | None = None,
        config: ParallelConfig | None = None,
    ) -> Any:
        """Run branches as the SDK does."""
        config = config or ParallelConfig()
        return super().parallel(functions, name, self._of_many(config, f"parallel:{name or ''}"))

    def wait_for_condition(
        self, check: Callable[..., Any], config: WaitForConditionConfig[Any], name: str | None = None
    ) -> Any:
        """Wait for a condition as the SDK does."""
        if config:
            title = self._title("condition", name, check)
            config = replace(config, serdes=self._sealing(config.serdes, title))
        return super().wait_for_condition(check, config, name)

    def _run_in_child_context(
        self, func: Callable[..., Any], step_name: str | None, config: ChildConfig[Any] | None, sub_type: str
    ) -> Any:
        # Both run_in_child_context and wait_for_callback come here, and only the former has a configuration.
        config = config or ChildConfig()
        if not config.is_virtual:  # it checkpoints nothing
            config = replace(config, serdes=self._sealing(config.serdes, f"child:{step_name or ''}", None))
        return super()._run_in_child_context(func, step_name, config, sub_type)

    def _of_many(self, config: _Many, title: str) -> _Many:
        item = config.item_serdes or config.serdes or EXTENDED_TYPES_SERDES
        if config.nesting_type is not NestingType.FLAT:  # flat branches checkpoint nothing
            item = self._sealing(item, f"{title}[]", None)
        return replace(config, serdes=self._sealing(config.serdes, title, None), item_serdes=item)

    def _sealing(self, inner: SerDes[Any] | None, name: str, limit: int | None = MOST_INLINE) -> SerDes[Any]:
        inner = inner or EXTENDED_TYPES_SERDES
        if isinstance(inner, Plain | ClaimCheckSerDes):
            return inner
        return ClaimCheckSerDes(inner, self.invocation, name, limit=limit)

    def _handed_on(self, inner: SerDes[Any], name: str) -> SerDes[Any]:
        if isinstance(inner, Plain | ClaimCheckSerDes):
            return inner
        return ClaimCheckSerDes(inner, self.invocation, name, handed_on=True)

    def _title(self, kind: str, name: str | None, func: Callable[..., Any]) -> str:
        return f"{kind}:{self._resolve_step_name(name, func) or ''}"
