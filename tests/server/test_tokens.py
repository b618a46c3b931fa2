"""Who gets in, and where."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coatcheck.server import tokens
from tests.chains import encrypted_chain
from tests.server.issuer import AUDIENCE, ISSUER, Issuer, claims, issuing, private_keys, token
from tests.server.serving import JSON, NAMESPACE, Serving, plain, serving, to_json

BODY = to_json([plain(b"1")])


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as one:
        yield one


@pytest.fixture(scope="module")
def server(issuer: Issuer) -> Iterator[Serving]:
    with serving(encrypted_chain(), encode=True, jwt=issuer.settings()) as running:
        yield running


def ask(
    server: Serving, authorization: str | None, action: str = "decode", namespace: str = NAMESPACE
) -> int:
    headers = {**JSON, "X-Namespace": namespace}
    if authorization is not None:
        headers["Authorization"] = authorization
    answer = server.post(f"/{action}", BODY, headers)
    assert (answer.status_code == 401) == ("www-authenticate" in answer.headers)
    return answer.status_code


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hmac_token(key: bytes, key_id: str) -> str:
    """As an attacker makes it who hopes that the public key is taken for a shared secret."""
    head = segment(json.dumps({"alg": "HS256", "typ": "JWT", "kid": key_id}).encode())
    signed = f"{head}.{segment(json.dumps(claims()).encode())}"
    return f"{signed}.{segment(hmac.digest(key, signed.encode(), 'sha256'))}"


def unsigned_token(algorithm: str) -> str:
    head = segment(json.dumps({"alg": algorithm, "typ": "JWT", "kid": "rsa"}).encode())
    return f"{head}.{segment(json.dumps(claims()).encode())}."


@pytest.mark.parametrize(
    ("key_id", "algorithm"),
    [("rsa", "RS256"), ("rsa-512", "RS512"), ("ec", "ES256"), ("ed", "EdDSA")],
)
def test_good_tokens(server: Serving, key_id: str, algorithm: str) -> None:
    good = token(key_id, algorithm)
    assert ask(server, f"Bearer {good}") == 200
    assert ask(server, f"bearer {good}") == 200
    assert ask(server, f"Bearer {good}", "download") == 400
    assert (
        server.post(f"/{NAMESPACE}/decode", BODY, {**JSON, "Authorization": f"Bearer {good}"}).status_code
        == 200
    )


@pytest.mark.parametrize("audience", [AUDIENCE, ["other", AUDIENCE]])
def test_one_audience_of_several_will_do(server: Serving, audience: Any) -> None:
    assert ask(server, f"Bearer {token(aud=audience)}") == 200


BAD: dict[str, Any] = {
    "issuer": {"iss": "https://other.example.com/"},
    "no issuer": {"iss": None},
    "issuer without its slash": {"iss": ISSUER.rstrip("/")},
    "audience": {"aud": "other"},
    "no audience": {"aud": None},
    "expired": {"exp": int(time.time()) - 3600},
    "never expires": {"exp": None},
    "expiry is no number": {"exp": "tomorrow"},
    "not yet valid": {"nbf": int(time.time()) + 3600},
    "issued in the future": {"iat": int(time.time()) + 3600},
    "subject is no text": {"sub": 5},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD)
def test_tokens_that_are_not_valid_here_and_now(server: Serving, changes: dict[str, Any]) -> None:
    assert ask(server, f"Bearer {token(**changes)}") == 401


def test_forged_tokens(server: Serving, issuer: Issuer) -> None:
    public = private_keys()["rsa"].public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body, signature = token().split(".")
    forged = [
        token("rsa", signer="stranger"),
        token("ec", "RS256", signer="rsa"),
        token("rsa", "ES256", signer="ec"),
        token("rsa-512", "RS256"),
        hmac_token(pem, "rsa"),
        hmac_token(b"", "rsa"),
        unsigned_token("none"),
        unsigned_token("None"),
        unsigned_token("RS256"),
        f"{head}.{segment(json.dumps(claims(sub='root')).encode())}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        "...",
        "x",
        "é",
        segment(b'{"alg": "RS256", "kid": {}}') + f".{body}.{signature}",
        segment(b'{"alg": "RS256"}') + f".{body}.{signature}",
        segment(b'{"alg": ["RS256"], "kid": "rsa"}') + f".{body}.{signature}",
        segment(b"[]") + f".{body}.{signature}",
    ]
    ask(server, f"Bearer {token()}")
    asked = issuer.asked
    for each in forged:
        headers = {**JSON, "X-Namespace": NAMESPACE, "Authorization": f"Bearer {each}".encode()}
        assert server.post("/decode", BODY, headers).status_code == 401
    assert issuer.asked == asked


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic YTpi"])
def test_no_token(server: Serving, header: str | None) -> None:
    assert ask(server, header) == 401


def test_a_key_that_nobody_knows_is_asked_for_once(server: Serving, issuer: Issuer) -> None:
    ask(server, f"Bearer {token()}")
    asked = issuer.asked
    for _ in range(5):
        assert ask(server, f"Bearer {token('stranger')}") == 401
    assert issuer.asked - asked <= 1


ROLES: dict[str, tuple[Any, list[int]]] = {
    "read": ([f"{NAMESPACE}:read"], [200, 403]),
    "write": ([f"{NAMESPACE}:write"], [200, 200]),
    "admin": ([f"{NAMESPACE}:Admin"], [200, 200]),
    "worker": ([f"{NAMESPACE}:worker"], [403, 403]),
    "several": ([f"{NAMESPACE}:worker", "other:write", f"{NAMESPACE}:read"], [200, 403]),
    "system": (["temporal-system:read"], [200, 403]),
    "another namespace": (["other:admin"], [403, 403]),
    "a longer name": ([f"{NAMESPACE}-2:admin", f"x{NAMESPACE}:admin"], [403, 403]),
    "another case": ([f"{NAMESPACE.upper()}:read"], [403, 403]),
    "a star": (["*:read", "*"], [403, 403]),
    "no role": ([NAMESPACE, f"{NAMESPACE}:", ":read"], [403, 403]),
    "one text": (f"{NAMESPACE}:admin", [403, 403]),
    "an object": ({NAMESPACE: "admin"}, [403, 403]),
    "oddities": ([None, 5, [f"{NAMESPACE}:admin"]], [403, 403]),
    "none": ([], [403, 403]),
    "no claim": (None, [403, 403]),
}


@pytest.mark.parametrize(("permissions", "expected"), ROLES.values(), ids=ROLES)
def test_rights(server: Serving, permissions: Any, expected: list[int]) -> None:
    bearer = f"Bearer {token(permissions=permissions)}"
    assert [ask(server, bearer, action) for action in ("decode", "encode")] == expected


def test_the_namespace_that_is_asked_for_is_the_one_that_is_checked(server: Serving) -> None:
    bearer = f"Bearer {token()}"
    assert ask(server, bearer, namespace="tenant-b") == 403
    headers = {**JSON, "Authorization": bearer}
    assert server.post("/tenant-b/decode", BODY, headers).status_code == 403
    assert server.post("/tenant-b/decode", BODY, {**headers, "X-Namespace": NAMESPACE}).status_code == 400
    # Nobody learns without a token which namespaces there could be.
    assert server.post("/decode", BODY, JSON).status_code == 401
    assert server.post("/decode", BODY, headers).status_code == 400


def test_the_claim_can_have_another_name(issuer: Issuer) -> None:
    settings = issuer.settings(permissions_claim="https://example.com/temporal")
    with serving(encrypted_chain(), jwt=settings) as server:
        assert ask(server, f"Bearer {token()}") == 403
        right: dict[str, Any] = {"https://example.com/temporal": [f"{NAMESPACE}:read"]}
        assert ask(server, f"Bearer {token(permissions=None, **right)}") == 200


@pytest.mark.parametrize(
    "body", [None, b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "RSA"}]}', b"\xff"]
)
def test_without_the_issuers_keys_nobody_gets_in(monkeypatch: pytest.MonkeyPatch, body: bytes | None) -> None:
    good = token()
    with issuing() as issuer:
        published, issuer.body = issuer.body, body
        with serving(encrypted_chain(), jwt=issuer.settings()) as server:
            assert ask(server, f"Bearer {good}") == 503
            # One failure is not asked about again at once.
            assert ask(server, f"Bearer {good}") == 503
            assert issuer.asked == 1
            issuer.body = published
            later = SimpleNamespace(monotonic=lambda: time.monotonic() + 60)
            monkeypatch.setattr(tokens, "time", later)
            assert ask(server, f"Bearer {good}") == 200


def test_keys_that_are_known_serve_on_while_the_issuer_is_down() -> None:
    with issuing() as issuer, serving(encrypted_chain(), jwt=issuer.settings()) as server:
        assert ask(server, f"Bearer {token()}") == 200
        issuer.body = None
        assert ask(server, f"Bearer {token('stranger')}") == 401
        assert ask(server, f"Bearer {token('ec', 'ES256')}") == 200


def test_an_issuer_that_does_not_listen() -> None:
    with issuing() as issuer:
        settings = issuer.settings()
    with serving(encrypted_chain(), jwt=settings) as server:
        assert ask(server, f"Bearer {token()}") == 503
