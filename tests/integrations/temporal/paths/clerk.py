"""A workflow whose values only pydantic can make payloads of, and bring back as what they were."""

from pydantic import BaseModel
from temporalio import workflow


class Form(BaseModel):
    """Filled in by somebody."""

    text: str
    copies: tuple[int, ...]


@workflow.defn
class File:
    @workflow.run
    async def run(self, form: Form) -> Form:
        return form.model_copy(update={"copies": (*form.copies, len(form.text))})
