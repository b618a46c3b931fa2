"""Workflows that move a large payload on one path each, and give it back."""

from datetime import timedelta
from hashlib import sha256
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    NexusOperationError,
)
from temporalio.exceptions import TimeoutError as ActivityTimeout

# Passed through, for what they keep is shared with the test.
with workflow.unsafe.imports_passed_through():
    from tests.integrations.temporal.paths.activities import (
        STUMBLED,
        announce,
        complete_later,
        echo,
        fail,
        idle,
        produce,
        resume,
        time_out,
    )
    from tests.integrations.temporal.paths.mirror import Mirror
    from tests.integrations.temporal.paths.values import CANARY

SOON = timedelta(seconds=20)
"""Time-out of whatever must not take long."""
MOMENT = timedelta(milliseconds=10)
ONCE = RetryPolicy(maximum_attempts=1)
TWICE = RetryPolicy(maximum_attempts=2, initial_interval=MOMENT)


def detail(error: BaseException | None) -> str:
    """The first detail of the application error that is the innermost cause."""
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    if not isinstance(error, ApplicationError):
        raise TypeError(type(error).__name__)
    return str(error.details[0])


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, data: str) -> str:
        return data


@workflow.defn
class ByActivity:
    @workflow.run
    async def run(self, data: str) -> str:
        return await workflow.execute_activity(echo, data, start_to_close_timeout=SOON)


@workflow.defn
class ByLocalActivity:
    @workflow.run
    async def run(self, data: str) -> str:
        return await workflow.execute_local_activity(echo, data, start_to_close_timeout=SOON)


@workflow.defn
class ByHeartbeat:
    @workflow.run
    async def run(self, data: str) -> str:
        return await workflow.execute_activity(
            resume, data, start_to_close_timeout=SOON, heartbeat_timeout=SOON, retry_policy=TWICE
        )


@workflow.defn
class ByLastHeartbeat:
    """The last heartbeat comes with the error that tells of the time-out."""

    @workflow.run
    async def run(self, data: str) -> str:
        try:
            await workflow.execute_activity(
                time_out,
                data,
                start_to_close_timeout=SOON,
                heartbeat_timeout=timedelta(seconds=1),
                retry_policy=ONCE,
            )
        except ActivityError as error:
            if not isinstance(error.cause, ActivityTimeout):
                raise
            return str(error.cause.last_heartbeat_details[0])
        raise AssertionError


@workflow.defn
class ByCompletion:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(complete_later, start_to_close_timeout=SOON)


@workflow.defn
class ByChild:
    @workflow.run
    async def run(self, data: str) -> str:
        return await workflow.execute_child_workflow(
            Echo.run, data, id=f"{workflow.info().workflow_id}-child"
        )


@workflow.defn
class ByFailingChild:
    @workflow.run
    async def run(self, data: str) -> str:
        try:
            await workflow.execute_child_workflow(Fail.run, data, id=f"{workflow.info().workflow_id}-child")
        except ChildWorkflowError as error:
            return detail(error)
        raise AssertionError


@workflow.defn
class ByFailingActivity:
    @workflow.run
    async def run(self, data: str) -> str:
        try:
            await workflow.execute_activity(fail, data, start_to_close_timeout=SOON)
        except ActivityError as error:
            return detail(error)
        raise AssertionError


@workflow.defn
class Fail:
    @workflow.run
    async def run(self, data: str) -> None:
        raise ApplicationError(f"{CANARY} in a message", data, type="Deliberate", non_retryable=True)


@workflow.defn
class FailOnce:
    """The second attempt gives back what the failure of the first one said."""

    @workflow.run
    async def run(self, data: str) -> str:
        if workflow.info().attempt == 1:
            raise ApplicationError(f"{CANARY} in a message", data)
        return detail(workflow.get_last_failure())


@workflow.defn
class ContinueAsNew:
    """The second run gives back its input and the memo that the first one gave it."""

    @workflow.run
    async def run(self, data: str, first: bool) -> list[str]:
        if first:
            workflow.continue_as_new(args=[data, False], memo={"note": data})
        return [data, str(workflow.memo_value("note"))]


@workflow.defn
class Cron:
    """The second run is given the result of the first one, says so, and stays."""

    @workflow.run
    async def run(self, data: str) -> str:
        if not workflow.has_last_completion_result():
            return data
        await workflow.execute_activity(announce, "the second run", start_to_close_timeout=SOON)
        await workflow.wait_condition(lambda: False)
        return ""

    @workflow.query
    def last(self) -> str:
        return workflow.get_last_completion_result(str) or ""


@workflow.defn
class Stumble:
    """The first workflow task fails by a fault in the code, the second one does not."""

    @workflow.run
    async def run(self, data: str) -> str:
        workflow_id = workflow.info().workflow_id
        if workflow_id not in STUMBLED:
            STUMBLED.add(workflow_id)
            # Large by itself: how large a stack trace is depends on where the files are.
            raise RuntimeError(data[:20_000])
        return data


@workflow.defn
class Announce:
    @workflow.run
    async def run(self, data: str) -> list[str]:
        return [
            await workflow.execute_activity(announce, data, start_to_close_timeout=SOON),
            str(workflow.memo_value("note")),
        ]


@workflow.defn
class Turns:
    """Two turns with a word from outside between them."""

    def __init__(self) -> None:
        self.said: str | None = None

    @workflow.signal
    def say(self, data: str) -> None:
        self.said = data

    @workflow.run
    async def run(self, data: str) -> list[str]:
        first = await workflow.execute_activity(announce, data, start_to_close_timeout=SOON)
        await workflow.wait_condition(lambda: self.said is not None)
        second = await workflow.execute_activity(echo, str(self.said), start_to_close_timeout=SOON)
        return [first, second]


@workflow.defn
class Remember:
    """Gives back its memo, hands it on to a child, and adds to it."""

    @workflow.run
    async def run(self, first: bool) -> str:
        data = str(workflow.memo_value("note"))
        workflow.upsert_memo({"later": data})
        if not first:
            return data
        return await workflow.execute_child_workflow(
            Remember.run, False, id=f"{workflow.info().workflow_id}-child", memo={"note": data}
        )


@workflow.defn
class Mailbox:
    """Gives back what it was sent, once it has all of it."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    @workflow.signal
    def put(self, data: str) -> None:
        self.kept.append(data)

    @workflow.query
    def stumble(self, data: str) -> None:
        raise ApplicationError(f"{CANARY} in a message", data)

    @workflow.query
    def look(self, data: str) -> list[str]:
        return [data, *self.kept]

    @workflow.update
    async def change(self, data: str) -> str:
        if data.startswith("fail "):
            raise ApplicationError(f"{CANARY} in a message", data)
        self.kept.append(data)
        return data

    @change.validator
    def check(self, data: str) -> None:
        if data.startswith("refuse "):
            raise ApplicationError(f"{CANARY} in a message", data)

    @workflow.run
    async def run(self, expected: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.kept) >= expected and workflow.all_handlers_finished())
        return self.kept


@workflow.defn
class Nothing:
    """Is given nothing and gives nothing back, by way of all that has a payload which nobody gave."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_local_activity(idle, start_to_close_timeout=SOON)
        await workflow.execute_activity(idle, start_to_close_timeout=SOON)
        await workflow.sleep(MOMENT)
        workflow.patched("a change")


@workflow.defn
class Elsewhere:
    """Has somebody else's worker do an activity."""

    @workflow.run
    async def run(self, activity: str, queue: str) -> str:
        try:
            done: str = await workflow.execute_activity(
                activity, task_queue=queue, start_to_close_timeout=SOON, retry_policy=ONCE
            )
        except ActivityError as error:
            return detail(error)
        return done


@workflow.defn
class Send:
    @workflow.run
    async def run(self, to: str, data: str) -> None:
        await workflow.get_external_workflow_handle(to).signal(Mailbox.put, data)


@workflow.defn
class Tell:
    """Says in words what it does, where tools show it."""

    @workflow.run
    async def run(self, data: str) -> str:
        workflow.set_current_details(data)
        await workflow.sleep(MOMENT, summary=CANARY)
        return await workflow.execute_activity(
            echo, workflow.get_current_details(), start_to_close_timeout=SOON, summary=CANARY
        )


@workflow.defn
class Call:
    """A Nexus operation: gives back its result, or the detail of its failure."""

    @workflow.run
    async def run(self, endpoint: str, operation: str, data: str) -> str:
        client = workflow.create_nexus_client(service=Mirror, endpoint=endpoint)
        try:
            return await client.execute_operation(
                operation, data, output_type=str, schedule_to_close_timeout=SOON
            )
        except NexusOperationError as error:
            return f"{detail(error)}"


@workflow.defn
class Collect:
    """Has a number of large things made, waits to be let go, and gives back a hash of them all."""

    def __init__(self) -> None:
        self.let_go = False

    @workflow.signal
    def go(self) -> None:
        self.let_go = True

    @workflow.run
    async def run(self, count: int) -> str:
        products = [
            await workflow.execute_activity(produce, number, start_to_close_timeout=SOON)
            for number in range(count)
        ]
        await workflow.wait_condition(lambda: self.let_go, timeout=timedelta(days=1))
        return sha256("".join(products).encode()).hexdigest()


@workflow.defn
class Approve:
    """Waits up to a month for somebody's word; gives back what was asked, the answer, and how many days it took."""

    def __init__(self) -> None:
        self.answer: str | None = None

    @workflow.signal
    def decide(self, answer: str) -> None:
        self.answer = answer

    @workflow.run
    async def run(self, question: str) -> tuple[str, str | None, int]:
        asked = workflow.now()
        await workflow.wait_condition(lambda: self.answer is not None, timeout=timedelta(days=30))
        return question, self.answer, (workflow.now() - asked).days


FLOWS: list[type[Any]] = [
    Announce,
    Approve,
    ByActivity,
    ByChild,
    ByCompletion,
    ByFailingActivity,
    ByFailingChild,
    ByHeartbeat,
    ByLastHeartbeat,
    ByLocalActivity,
    Call,
    Collect,
    ContinueAsNew,
    Cron,
    Echo,
    Elsewhere,
    Fail,
    FailOnce,
    Mailbox,
    Nothing,
    Remember,
    Send,
    Stumble,
    Tell,
    Turns,
]
