"""In which order coatcheck stands with middleware that reports errors, and with such that looks at data."""

from collections.abc import Iterator
from typing import Any

import inngest
import pydantic
import pytest
import sentry_sdk
from inngest import Context, ContextSync
from inngest.experimental.sentry_middleware import SentryMiddleware
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from coatcheck.integrations.inngest import claim_check
from tests.chains import encrypted_chain
from tests.engines.inngest import InngestServer
from tests.integrations.inngest.serving import App, closing, new_app, served


class _Kept(Transport):
    """Keeps what would go to Sentry."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.events.append(envelope.get_event())

    @property
    def said(self) -> list[str]:
        return [value["value"] for event in self.events if event for value in event["exception"]["values"]]


@pytest.fixture
def sentry() -> Iterator[_Kept]:
    kept = _Kept()
    sentry_sdk.init(
        dsn="http://key@127.0.0.1/1",
        transport=kept,
        default_integrations=False,
        auto_enabling_integrations=False,
    )
    yield kept
    sentry_sdk.init()


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    order: int


class Validator(inngest.MiddlewareSync):
    """Looks at all that goes through it; a mistake ends the request."""

    def before_send_events(self, events: list[inngest.Event]) -> None:
        for event in events:
            Order.model_validate(event.data)

    def transform_input(self, ctx: Context | ContextSync, function: Any, steps: Any) -> None:
        del function, steps
        if not ctx.event.name.startswith("inngest/"):
            Order.model_validate(ctx.event.data)

    def transform_output(self, result: inngest.TransformOutputResult) -> None:
        if result.has_output():
            Order.model_validate(result.output)


class SendValidator(inngest.MiddlewareSync):
    """That part of it which looks at what is sent."""

    before_send_events = Validator.before_send_events


class RunValidator(inngest.MiddlewareSync):
    """The rest of it."""

    transform_input = Validator.transform_input
    transform_output = Validator.transform_output


def failing(app: App) -> inngest.Function[Any]:
    @app.client.create_function(fn_id="fails", retries=0, trigger=app.on("go"))
    async def fails(ctx: Context) -> None:
        async def step() -> None:
            raise ValueError("the secret order 7")

        await ctx.step.run("step", step)

    return fails


async def test_sentry_after_coatcheck_is_told_what_happened(
    inngest_server: InngestServer, sentry: _Kept
) -> None:
    app = new_app(inngest_server, claim_check(encrypted_chain()), SentryMiddleware)
    async with served(app, [failing(app)]):
        await app.run("go", order=7)
    assert "the secret order 7" in sentry.said
    assert b"the secret order 7" not in app.wire.everything


async def test_sentry_before_coatcheck_gets_ciphertext(inngest_server: InngestServer, sentry: _Kept) -> None:
    app = new_app(inngest_server, SentryMiddleware, claim_check(encrypted_chain()))
    async with served(app, [failing(app)]):
        await app.run("go", order=7)
    assert sentry.said
    assert all("the secret order" not in said or said == "the secret order 7" for said in sentry.said)
    assert any(said.startswith("coatcheck:") for said in sentry.said)


def echo(app: App) -> inngest.Function[Any]:
    @app.client.create_function(fn_id="echo", retries=0, trigger=app.on("go"))
    async def echoes(ctx: Context) -> Any:
        async def step() -> Any:
            return ctx.event.data

        return await ctx.step.run("step", step)

    return echoes


async def test_what_validates_sent_events_stands_before_and_all_other_validation_after(
    inngest_server: InngestServer,
) -> None:
    check = claim_check(encrypted_chain())
    app = new_app(inngest_server, SendValidator, check, RunValidator)
    async with served(app, [echo(app)]):
        run = await app.run("go", order=7)
        assert run["status"] == "Completed", run
        assert await check.unwrap(run["output"]) == {"order": 7}
        with pytest.raises(Exception, match="order"):
            await app.send("go", order="seven")
        with pytest.raises(Exception, match="order"):
            app.client.send_sync(inngest.Event(name=app.event("go"), data={"order": "seven"}))


async def test_one_validator_for_both_sees_what_is_sealed(inngest_server: InngestServer) -> None:
    """Before, it meets sealed data in what arrives; after, in what is sent."""
    app = new_app(inngest_server, claim_check(encrypted_chain()), Validator)
    async with closing(app):
        with pytest.raises(Exception, match="__coatcheck__"):
            await app.send("go", order=7)
