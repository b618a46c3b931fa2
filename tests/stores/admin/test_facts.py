"""How buckets are set up: which lifecycle rules take payloads away, and what is said where nobody may look."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from coatcheck.stores.admin import gcs as gcs_admin
from coatcheck.stores.admin import s3 as s3_admin
from coatcheck.stores.admin.facts import BucketFact, overlap
from tests.engines.process import free_port
from tests.engines.responder import responding, xml_error

ENCRYPTION = """<?xml version="1.0" encoding="UTF-8"?>
<ServerSideEncryptionConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule>
<ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>arn:key</KMSMasterKeyID>
</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"""


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")


@pytest.mark.parametrize(
    ("rule", "prefix", "meets"),
    [
        ("", "", True),
        ("", "prod", True),
        ("anything", "", True),
        ("prod", "prod", True),
        ("prod/", "prod/", True),
        ("prod/x", "prod", True),
        ("production/", "prod", False),
        ("dev/", "prod", False),
    ],
)
def test_which_rules_meet_a_prefix(rule: str, prefix: str, meets: bool) -> None:
    assert overlap(rule, prefix) is meets


DAYS = {"Expiration": {"Days": 30}}


@pytest.mark.parametrize(
    ("rule", "clause"),
    [
        ({**DAYS, "Filter": {"Prefix": "prod/"}}, "deletes objects below 'prod/' after 30 days"),
        ({**DAYS, "Prefix": ""}, "deletes objects below '' after 30 days"),
        ({**DAYS, "Filter": {}}, "deletes objects below '' after 30 days"),
        (
            {**DAYS, "Filter": {"And": {"Prefix": "prod/", "ObjectSizeGreaterThan": 1}}},
            "deletes objects below 'prod/' after 30 days",
        ),
        (
            {"Expiration": {"Date": datetime(2030, 1, 2, tzinfo=UTC)}, "Filter": {"Prefix": ""}},
            "deletes objects below '' on 2030-01-02",
        ),
        (
            {"Transitions": [{"Days": 9, "StorageClass": "DEEP_ARCHIVE"}], "Filter": {"Prefix": ""}},
            "moves objects below '' to DEEP_ARCHIVE after 9 days, out of reach",
        ),
        ({"Transitions": [{"Days": 9, "StorageClass": "GLACIER_IR"}], "Filter": {"Prefix": ""}}, None),
        ({**DAYS, "Filter": {"Prefix": "dev/"}}, None),
        ({**DAYS, "Filter": {"Tag": {"Key": "k", "Value": "v"}}}, None),
        ({**DAYS, "Filter": {"And": {"Prefix": "prod/", "Tags": [{"Key": "k", "Value": "v"}]}}}, None),
        ({**DAYS, "Filter": {"Prefix": "prod/"}, "Status": "Disabled"}, None),
        ({"Expiration": {"ExpiredObjectDeleteMarker": True}, "Filter": {}}, None),
        ({"NoncurrentVersionExpiration": {"NoncurrentDays": 3}, "Filter": {}}, None),
        ({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3}, "Filter": {}}, None),
    ],
)
def test_rules_of_s3(rule: dict[str, Any], clause: str | None) -> None:
    found = s3_admin.harmful_rules([{"ID": "x", "Status": "Enabled", **rule}], "prod")
    assert found == ([f"rule 'x' {clause}"] if clause else [])


@pytest.mark.parametrize(
    ("condition", "clause"),
    [
        ({"age": 30}, "a rule deletes objects below '' after 30 days"),
        ({"age": 30, "isLive": True}, "a rule deletes objects below '' after 30 days"),
        (
            {"createdBefore": "2030-01-01", "matchesPrefix": ["dev/", "prod/"]},
            "a rule deletes objects below 'dev/' or 'prod/'",
        ),
        ({"age": 30, "matchesPrefix": ["dev/"]}, None),
        ({"age": 30, "isLive": False}, None),
        ({"numNewerVersions": 3}, None),
        ({"daysSinceNoncurrentTime": 3}, None),
        ({"daysSinceCustomTime": 3}, None),
    ],
)
def test_rules_of_gcs(condition: dict[str, Any], clause: str | None) -> None:
    rules = [{"action": {"type": "Delete"}, "condition": condition}]
    assert gcs_admin.harmful_rules(rules, "prod") == ([clause] if clause else [])
    assert gcs_admin.harmful_rules([{**rules[0], "action": {"type": "SetStorageClass"}}], "prod") == []


def said(facts: list[BucketFact]) -> list[tuple[str, bool | None, str]]:
    return [(fact.topic, fact.fine, fact.said) for fact in facts]


async def test_s3_denies_a_look() -> None:
    async with responding(403, xml_error("AccessDenied")) as endpoint:
        facts = await s3_admin.look(
            f"s3://bucket/prod?endpoint_url={endpoint}&region=us-east-1&path_style=true"
        )
    assert said(facts) == [
        ("versioning", None, "not allowed to look: needs s3:GetBucketVersioning"),
        ("encryption", None, "not allowed to look: needs s3:GetEncryptionConfiguration"),
        ("lifecycle", None, "not allowed to look: needs s3:GetLifecycleConfiguration"),
    ]


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (501, "NotImplemented", "this service does not say"),
        (404, "NoSuchBucket", "could not look: the service answers 404 NoSuchBucket"),
    ],
)
async def test_s3_does_not_tell(status: int, code: str, words: str) -> None:
    async with responding(status, xml_error(code)) as endpoint:
        facts = await s3_admin.look(f"s3://bucket?endpoint_url={endpoint}&region=us-east-1")
    assert {(fact.fine, fact.said) for fact in facts} == {(None, words)}


async def test_s3_has_nothing_set() -> None:
    async with responding(404, xml_error("NoSuchLifecycleConfiguration")) as endpoint:
        facts = await s3_admin.look(f"s3://bucket?endpoint_url={endpoint}&region=us-east-1")
    assert said(facts)[2] == ("lifecycle", True, "no rule deletes or archives current objects here")
    async with responding(404, xml_error("ServerSideEncryptionConfigurationNotFoundError")) as endpoint:
        facts = await s3_admin.look(f"s3://bucket?endpoint_url={endpoint}&region=us-east-1")
    assert facts[1].fine is True
    assert facts[1].said.startswith("the bucket has no default")


async def test_s3_encrypts() -> None:
    async with responding(200, ENCRYPTION, {"x-amz-request-id": "1"}) as endpoint:
        facts = await s3_admin.look(f"s3://bucket?endpoint_url={endpoint}&region=us-east-1")
    assert said(facts)[1] == (
        "encryption",
        True,
        "the bucket encrypts at rest: aws:kms with the key arn:key",
    )


async def test_s3_is_away() -> None:
    url = f"s3://bucket?endpoint_url=http://127.0.0.1:{free_port()}&region=us-east-1"
    facts = await s3_admin.look(url)
    assert {(fact.fine, fact.said) for fact in facts} == {(None, "could not look: EndpointConnectionError")}


async def test_gcs_tells() -> None:
    about = {
        "kind": "storage#bucket",
        "versioning": {"enabled": False},
        "encryption": {"defaultKmsKeyName": "projects/p/key"},
        "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 3}}]},
    }
    async with responding(200, json.dumps(about)) as endpoint:
        facts = await gcs_admin.look(f"gs://bucket/prod?endpoint_url={endpoint}")
    assert [fact.fine for fact in facts] == [True, True, False]
    assert facts[0].said == "off: deleted objects are gone, unless the bucket has soft delete"
    assert facts[1].said == "the bucket encrypts at rest with the key projects/p/key"
    assert facts[2].said.startswith("a rule deletes objects below '' after 3 days. ")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (403, "{}", "the credentials lack storage.buckets.get, or storage.buckets.update for a change"),
        (404, "{}", "Google answers 404"),
        (503, "<html>", "Google answers 503"),
        (200, "", "something other than Google Cloud Storage answered"),
        (200, "{}", "something other than Google Cloud Storage answered"),
        (200, "[]", "something other than Google Cloud Storage answered"),
        (200, "<html>", "something other than Google Cloud Storage answered"),
    ],
)
async def test_gcs_does_not_tell(status: int, body: str, words: str) -> None:
    async with responding(status, body) as endpoint:
        facts = await gcs_admin.look(f"gs://bucket?endpoint_url={endpoint}")
    assert {(fact.fine, fact.said) for fact in facts} == {(None, f"could not look: {words}")}


async def test_google_sends_elsewhere() -> None:
    """Its client follows redirects by itself, and takes the token along."""
    heard: list[bytes] = []
    async with (
        responding(200, json.dumps({"kind": "storage#bucket"}), heard=heard) as elsewhere,
        responding(302, "", {"Location": f"{elsewhere}/storage/v1/b/bucket"}) as endpoint,
    ):
        facts = await gcs_admin.look(f"gs://bucket?endpoint_url={endpoint}")
    assert {fact.fine for fact in facts} == {None}
    assert all("Google answers 302" in fact.said for fact in facts)
    assert heard == []


async def test_gcs_is_away() -> None:
    facts = await gcs_admin.look(f"gs://bucket?endpoint_url=http://127.0.0.1:{free_port()}")
    assert [fact.fine for fact in facts] == [None, None, None]
    assert all("cannot be reached: ConnectionError" in fact.said for fact in facts)
