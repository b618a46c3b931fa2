"""A workflow with an input that can be read in a browser, and a result that is better downloaded."""

from temporalio import workflow
from temporalio.exceptions import ApplicationError

CONVERSATION = [
    {"role": "user", "content": "Which of our suppliers are late this quarter, and why?"},
    {"role": "assistant", "content": "I will look at the deliveries first.", "tool": "deliveries"},
    *(
        {
            "role": "tool",
            "content": f"order {1000 + n}: promised day {n % 28 + 1}, arrived {n * n % 9} days late",
        }
        for n in range(60)
    ),
    {"role": "user", "content": "Write the report, please."},
]


def report(lines: int = 8000) -> str:
    """Some 300 KB that do not compress to nothing."""
    return "\n".join(
        f"{n}: {n * 2654435761 % 2**32:08x} of {n * 40503 % 65536:04x} parts late" for n in range(lines)
    )


@workflow.defn
class Report:
    """An agent that was asked for a report."""

    @workflow.run
    async def run(self, conversation: list[dict[str, str]]) -> str:
        return report() if len(conversation) > 1 else conversation[0]["content"]


@workflow.defn
class Letters:
    """Takes letters from several hands, and fails or gives them back."""

    def __init__(self) -> None:
        self._letters: list[str] = []

    @workflow.run
    async def run(self, first: str) -> str:
        await workflow.wait_condition(lambda: len(self._letters) > 1)
        if first == "fail":
            raise ApplicationError(f"torn: {self._letters}", non_retryable=True)
        return " ".join([first, *self._letters])

    @workflow.signal
    def letter(self, text: str) -> None:
        self._letters.append(text)
