"""Lifecycle rules, on the real servers: nothing that is needed can expire, and rules of others stay."""

import json
import secrets
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner, Result

from coatcheck.cli.app import app
from coatcheck.contracts.sealing import TENANT_SCOPE_TAG
from coatcheck.contracts.store import ExpiryRule
from coatcheck.errors import ConfigError, StoreUnavailable
from coatcheck.retention.lifecycle_rules import expiry_rules, least_days
from coatcheck.stores.admin import gcs_lifecycle, s3_lifecycle
from coatcheck.stores.admin.s3 import harmful_rules
from tests.chains import KEY
from tests.engines.responder import responding
from tests.stores.s3_fixtures import REGION, Bucket

TENANT_SCOPE = f"{'ab' * 16}/{TENANT_SCOPE_TAG.hex()}/"
RULES = [ExpiryRule(TENANT_SCOPE, 122), ExpiryRule("", 7, noncurrent=True)]
ASKED = ("--longest-run", "90d", "--retention", "30d")


def lifecycle(*arguments: str) -> Result:
    done = CliRunner().invoke(app, ["store", "lifecycle", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done


def test_days_are_rounded_up_and_have_a_margin() -> None:
    assert least_days(timedelta(days=90), timedelta(days=30)) == 122
    assert least_days(timedelta(hours=1), timedelta(hours=1)) == 3


@pytest.mark.parametrize(("days", "noncurrent"), [(121, 7), (122, 0)])
def test_a_rule_that_could_delete_what_is_needed_is_refused(days: int, noncurrent: int) -> None:
    with pytest.raises(ConfigError):
        expiry_rules([f"{'ab' * 16}/"], days, noncurrent, least=122)


def test_rules_are_about_tenant_scopes_and_versions_alone() -> None:
    assert expiry_rules([f"{'ab' * 16}/"], 122, 7, least=122) == RULES


@pytest.fixture
def s3(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.server.secret_key)
    monkeypatch.setenv("COATCHECK_KEYS", KEY.to_text())
    name = f"rules-{secrets.token_hex(6)}"
    bucket.client.create_bucket(Bucket=name)
    url = f"s3://{name}/prod?endpoint_url={bucket.server.endpoint}&region={REGION}"
    monkeypatch.setenv("COATCHECK_OFFLOAD__STORE", url)
    return url


def set_rules(bucket: Bucket, url: str, *rules: Any) -> None:
    bucket.client.put_bucket_lifecycle_configuration(
        Bucket=name_of(url), LifecycleConfiguration={"Rules": rules}
    )


def rules_in(bucket: Bucket, url: str) -> dict[str, Any]:
    found = bucket.client.get_bucket_lifecycle_configuration(Bucket=name_of(url))["Rules"]
    return {rule.get("ID", ""): rule for rule in found}


def name_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def rule(prefix: str, days: int, name: str) -> dict[str, Any]:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": days}}


async def test_rules_of_others_stay_and_ours_are_replaced(bucket: Bucket, s3: str) -> None:
    set_rules(bucket, s3, rule("elsewhere/", 3, "theirs"))
    for days in (122, 200):
        await s3_lifecycle.apply(s3, [ExpiryRule(TENANT_SCOPE, days)])
        found = rules_in(bucket, s3)
        assert found.pop("theirs")["Expiration"]["Days"] == 3
        (ours,) = found.values()
        assert (ours["Expiration"]["Days"], ours["Filter"]["Prefix"]) == (days, f"prod/{TENANT_SCOPE}")


def test_what_s3_is_given_is_harmless_to_runs() -> None:
    given = s3_lifecycle.rules_of("s3://bucket/prod", RULES)
    assert harmful_rules(given, "prod") == []
    assert [entry["Filter"]["Prefix"] for entry in given] == [f"prod/{TENANT_SCOPE}", "prod/"]
    assert given[1]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 7}
    assert "Days" not in given[1]["Expiration"]
    assert len({entry["ID"] for entry in given}) == 2


def test_the_command_prints_and_changes_nothing(bucket: Bucket, s3: str) -> None:
    set_rules(bucket, s3, rule("elsewhere/", 3, "theirs"))
    done = lifecycle(*ASKED)
    assert (done.exit_code, done.stderr) == (0, "")
    tenant, versions = json.loads(done.stdout)
    assert (tenant["Expiration"]["Days"], versions["NoncurrentVersionExpiration"]["NoncurrentDays"]) == (
        122,
        7,
    )
    assert set(rules_in(bucket, s3)) == {"theirs"}


def test_the_command_refuses_rules_that_could_delete_what_is_needed(bucket: Bucket, s3: str) -> None:
    short = lifecycle(*ASKED, "--days", "60", "--apply")
    assert (short.exit_code, "Use at least 122 days" in short.stderr) == (1, True)
    set_rules(bucket, s3, rule("prod/", 3000, "a-long-time"))
    there = lifecycle(*ASKED, "--apply")
    assert (there.exit_code, "rule 'a-long-time' deletes objects" in there.stderr) == (1, True)
    assert set(rules_in(bucket, s3)) == {"a-long-time"}


def test_who_may_not_set_rules_is_told_so(bucket: Bucket, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.server.reader_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.server.reader_secret_key)
    done = lifecycle(*ASKED, "--apply")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)


def test_a_store_without_rules_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_KEYS", KEY.to_text())
    monkeypatch.setenv("COATCHECK_OFFLOAD__STORE", "file:///nowhere")
    done = lifecycle(*ASKED)
    assert (done.exit_code, "has no lifecycle rules" in done.stderr) == (1, True)


async def test_gcs_is_given_rules_beside_those_of_others() -> None:
    """The server for tests keeps no lifecycle, so a responder notes what it would be told."""
    theirs = {"action": {"type": "Delete"}, "condition": {"age": 3, "matchesPrefix": ["elsewhere/"]}}
    ours = gcs_lifecycle.rules_of("gs://bucket/prod", [ExpiryRule(TENANT_SCOPE, 5), RULES[1]])
    body = json.dumps(
        {"kind": "storage#bucket", "metageneration": "7", "lifecycle": {"rule": [theirs, *ours]}}
    )
    heard: list[bytes] = []
    async with responding(200, body, heard=heard) as endpoint:
        url = f"gs://bucket/prod?endpoint_url={endpoint}"
        assert await gcs_lifecycle.harmful(url) == []
        await gcs_lifecycle.apply(url, RULES)
    [patch] = [request for request in heard if request.startswith(b"PATCH /storage/v1/b/bucket?")]
    assert b"ifMetagenerationMatch=7" in patch.partition(b"\r\n")[0]
    sent = json.loads(patch.partition(b"\r\n\r\n")[2])
    assert sent["lifecycle"]["rule"] == [theirs, *gcs_lifecycle.rules_of("gs://bucket/prod", RULES)]


async def test_a_rule_that_googles_client_leaves_out_was_deleted() -> None:
    """google-cloud-storage does not list rules of unknown kinds, and rules are replaced as a whole."""
    new = {"action": {"type": "Melt"}, "condition": {"age": 3}}
    body = json.dumps({"kind": "storage#bucket", "metageneration": "7", "lifecycle": {"rule": [new]}})
    heard: list[bytes] = []
    async with responding(200, body, heard=heard) as endpoint:
        with pytest.raises(ConfigError, match="does not know"):
            await gcs_lifecycle.apply(f"gs://bucket/prod?endpoint_url={endpoint}", RULES)
    assert [request.partition(b" ")[0] for request in heard] == [b"GET"]


async def test_a_bucket_that_somebody_else_changes_at_the_same_moment_stays_theirs() -> None:
    async def serve(request: web.Request) -> web.Response:
        if request.method == "PATCH":
            return web.json_response({"error": {"message": "conditionNotMet"}}, status=412)
        return web.json_response({"kind": "storage#bucket", "metageneration": "7"})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", serve)
    async with TestServer(application, host="127.0.0.1") as server:
        url = f"gs://bucket/prod?endpoint_url={str(server.make_url('')).rstrip('/')}"
        with pytest.raises(StoreUnavailable, match="changed by another client"):
            await gcs_lifecycle.apply(url, RULES)
