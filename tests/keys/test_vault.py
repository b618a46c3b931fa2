"""Keys of Vault's transit engine, on a real OpenBao: what it says of a key, how processes log in, and when it is away."""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa

from coatcheck import (
    CoatcheckError,
    ConfigError,
    IntegrityError,
    KeyDestroyed,
    KeyServiceError,
    KeyUnavailable,
    VaultAuth,
    VaultTransit,
)
from coatcheck.keys import vault_client
from coatcheck.runtime.clock import boottime
from coatcheck.settings.keyring import open_service
from tests.engines.openbao import HOST, OpenBao, is_active, serving
from tests.engines.responder import responding
from tests.engines.tls import authority, tls_before

CONTEXT = {"tenant": "00ff", "number": "1"}
SECRET = bytes(range(32))
NAME = f"vault://{HOST}/transit/payloads"


class Clients:
    """Makes clients, and closes them in the end."""

    def __init__(self, server: OpenBao) -> None:
        self._server = server
        self._opened: list[VaultTransit] = []

    def __call__(self, name: str, auth: VaultAuth | None = None) -> VaultTransit:
        self._opened.append(self._server.service(name, auth))
        return self._opened[-1]

    async def close(self) -> None:
        for service in self._opened:
            await service.close()


@pytest.fixture
async def client(openbao: OpenBao) -> AsyncIterator[Clients]:
    clients = Clients(openbao)
    yield clients
    await clients.close()


async def opens(service: VaultTransit) -> bool:
    return await service.unwrap(await service.wrap(SECRET, CONTEXT), CONTEXT) == SECRET


def token_of(service: VaultTransit) -> str:
    token = service._client._token
    assert token is not None
    return token.secret


@pytest.mark.parametrize(
    "settings", [{"derived": False}, {"type": "ed25519"}, {"derived": False, "type": "rsa-2048"}]
)
async def test_a_key_that_is_not_derived_would_have_bound_no_tenant(
    openbao: OpenBao, client: Clients, settings: dict[str, Any]
) -> None:
    service = client(openbao.new_key(**settings))
    with pytest.raises(ConfigError, match="not a derived key that encrypts"):
        await service.generate(CONTEXT)
    with pytest.raises(ConfigError, match="derived=true"):
        await service.wrap(SECRET, CONTEXT)


async def test_vault_made_a_new_key_for_a_misspelt_name(openbao: OpenBao, client: Clients) -> None:
    # Who may create as well gets a new key for any name that he encrypts with.
    policy = 'path "transit/*" { capabilities = ["create", "read", "update"] }'
    openbao.ask("PUT", "sys/policies/acl/creates", {"policy": policy})
    service = client(f"{openbao.new_key()}-misspelt", VaultAuth.token(openbao.token(policies=["creates"])))
    for call in (service.wrap(SECRET, CONTEXT), service.generate(CONTEXT)):
        with pytest.raises(KeyUnavailable, match="has no key") as caught:
            await call
        assert caught.value.retryable
    assert not [key for key in openbao.ask("LIST", "transit/keys")["data"]["keys"] if "misspelt" in key]


async def test_a_version_that_may_be_allowed_again_is_unavailable_and_one_that_is_trimmed_is_destroyed(
    openbao: OpenBao, client: Clients
) -> None:
    service = client(openbao.new_key())
    wrapped = await service.wrap(SECRET, CONTEXT)
    openbao.change(service.name, "rotate")
    openbao.change(service.name, "config", min_decryption_version=2, min_encryption_version=2)
    with pytest.raises(KeyUnavailable, match=r"version 1.*Lower min_decryption_version") as caught:
        await service.unwrap(wrapped, CONTEXT)
    assert (type(caught.value), caught.value.retryable) == (KeyUnavailable, True)
    openbao.change(service.name, "config", min_decryption_version=1)
    assert await service.unwrap(wrapped, CONTEXT) == SECRET
    openbao.change(service.name, "config", min_decryption_version=2)
    openbao.change(service.name, "trim", min_available_version=2)
    with pytest.raises(KeyDestroyed, match="has trimmed version 1") as destroyed:
        await service.unwrap(wrapped, CONTEXT)
    assert not destroyed.value.retryable
    assert await opens(service)


async def test_a_node_that_lags_behind_has_not_lost_the_key(openbao: OpenBao, client: Clients) -> None:
    service = client(openbao.new_key())
    wrapped = await service.wrap(SECRET, CONTEXT)
    with pytest.raises(KeyUnavailable, match="no version 2 yet") as caught:
        await service.unwrap(wrapped.replace(b":v1:", b":v2:"), CONTEXT)
    assert (type(caught.value), caught.value.retryable) == (KeyUnavailable, True)


async def test_a_key_of_the_same_name_opens_nothing_of_its_predecessor(
    openbao: OpenBao, client: Clients
) -> None:
    service = client(openbao.new_key())
    wrapped = await service.wrap(SECRET, CONTEXT)
    openbao.destroy(service.name)
    openbao.ask("POST", f"transit/keys/{service.name.rpartition('/')[2]}", {"derived": True})
    with pytest.raises(IntegrityError, match="damaged, or moved"):
        await service.unwrap(wrapped, CONTEXT)


async def test_a_namespace_is_part_of_the_name(openbao: OpenBao, client: Clients) -> None:
    openbao.ask("POST", "sys/namespaces/team", {})
    openbao.ask("POST", "sys/mounts/deep/transit", {"type": "transit"}, namespace="team")
    name = openbao.new_key(mount="deep/transit", namespace="team")
    policy = 'path "team/deep/transit/*" { capabilities = ["read", "update"] }'
    openbao.ask("PUT", "sys/policies/acl/of-team", {"policy": policy})
    auth = VaultAuth.token(openbao.token(policies=["of-team", "coatcheck"]))
    assert await opens(client(name, auth))
    # The root namespace has neither the engine nor a policy for it.
    with pytest.raises(KeyServiceError, match="403") as caught:
        await client(name.partition("?")[0], auth).generate(CONTEXT)
    assert not caught.value.retryable


async def test_a_policy_that_lacks_something_is_not_retried_and_brings_no_new_login(
    openbao: OpenBao, client: Clients
) -> None:
    name = openbao.new_key()
    readers = 'path "transit/decrypt/*" { capabilities = ["update"] }'
    openbao.ask("PUT", "sys/policies/acl/readers", {"policy": readers})
    role_id, secret_id = openbao.role(token_policies=["readers"])
    reader = client(name, VaultAuth.app_role(role_id, secret_id))
    wrapped = await client(name).wrap(SECRET, CONTEXT)
    # Nothing more is needed to read.
    assert await reader.unwrap(wrapped, CONTEXT) == SECRET
    before = token_of(reader)
    for _ in range(2):
        with pytest.raises(KeyServiceError, match=r"answers 403.*`read` on transit/keys/") as caught:
            await reader.generate(CONTEXT)
        assert not caught.value.retryable
    assert token_of(reader) == before


async def test_a_role_logs_in_anew_when_its_token_was_revoked(openbao: OpenBao, client: Clients) -> None:
    role_id, secret_id = openbao.role()
    service = client(openbao.new_key(), VaultAuth.app_role(role_id, secret_id))
    assert await opens(service)
    first = token_of(service)
    openbao.ask("POST", "auth/token/revoke", {"token": first})
    # Of many that are refused at once, one logs in.
    assert all(await asyncio.gather(*(opens(service) for _ in range(8))))
    assert token_of(service) != first


async def test_a_secret_id_is_read_again_from_its_file(
    openbao: OpenBao, client: Clients, tmp_path: Path
) -> None:
    file = tmp_path / "secret-id"
    role_id, secret_id = openbao.role()
    service = client(openbao.new_key(), VaultAuth.app_role(role_id, secret_id_file=file))
    with pytest.raises(ConfigError, match=r"secret-id.*cannot be read: No such file"):
        await service.generate(CONTEXT)
    file.write_text("wrong\n")
    with pytest.raises(KeyServiceError, match=r"refuses the login by AppRole \(400\)") as caught:
        await service.generate(CONTEXT)
    assert not caught.value.retryable
    file.write_text(f"{secret_id}\n")
    assert await opens(service)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets the client's clock, and not Vault's, go ahead by some seconds."""
    ahead = [0.0]
    monkeypatch.setattr(vault_client, "boottime", lambda: boottime() + ahead[0])

    def go(seconds: float) -> None:
        ahead[0] += seconds

    return go


async def test_a_token_is_renewed_while_it_is_used(
    openbao: OpenBao, client: Clients, later: Callable[[float], None]
) -> None:
    role_id, secret_id = openbao.role(token_ttl=3600)
    name, given = openbao.new_key(), openbao.token(ttl="1h")
    for auth in (VaultAuth.token(given), VaultAuth.app_role(role_id, secret_id)):
        service = client(name, auth)
        assert await opens(service)
        token = token_of(service)

        def renewed(token: str = token) -> bool:
            return "last_renewal" in openbao.ask("POST", "auth/token/lookup", {"token": token})["data"]

        later(39 * 60)
        assert await opens(service)
        assert not renewed()
        later(2 * 60)
        assert await opens(service)
        assert renewed()
        assert token_of(service) == token
        # A process that was idle for longer has to log in, if it can.
        later(61 * 60)
        assert await opens(service)
        assert (token_of(service) != token) == bool(auth.login)


async def test_a_token_that_may_do_no_more_than_it_must_is_used_as_it_is(
    openbao: OpenBao, client: Clients, later: Callable[[float], None]
) -> None:
    role_id, secret_id = openbao.role(token_ttl=3600, token_no_default_policy=True)
    bare = VaultAuth.token(openbao.token(no_default_policy=True, ttl="1h"))
    for auth in (bare, VaultAuth.app_role(role_id, secret_id)):
        service = client(openbao.new_key(), auth)
        assert await opens(service)
        token = token_of(service)
        later(50 * 60)
        # It may not renew itself.
        assert await opens(service)
        assert token_of(service) == token


async def until_expired(openbao: OpenBao, token: str) -> None:
    """Wait until the server does not know the token any more."""
    while True:
        try:
            openbao.ask("POST", "auth/token/lookup", {"token": token})
        except AssertionError:
            return
        await asyncio.sleep(0.1)


async def test_an_expired_token_is_not_retried_and_one_in_a_file_is_read_anew(
    openbao: OpenBao, client: Clients, tmp_path: Path
) -> None:
    name, file = openbao.new_key(), tmp_path / "token"
    short = openbao.token(ttl="1s", renewable=False)
    file.write_text(short)
    given, sunk = client(name, VaultAuth.token(short)), client(name, VaultAuth.token_file(file))
    await until_expired(openbao, short)
    for service in (given, sunk):
        with pytest.raises(KeyServiceError, match="does not accept the token: it has expired") as caught:
            await service.generate(CONTEXT)
        assert not caught.value.retryable
        assert short not in str(caught.value)
    file.write_text(f"{openbao.token()}\n")
    assert await opens(sunk)


def account_token(path: Path) -> None:
    """Write what Kubernetes gives to a pod; who signed it is for Kubernetes to say."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    account = {"namespace": "agents", "serviceaccount": {"name": "worker", "uid": "u-1"}}
    now = int(time.time())
    times = {"iat": now - 60, "nbf": now - 60, "exp": now + 3600}
    claims = {"sub": "system:serviceaccount:agents:worker", **times, "kubernetes.io": account}
    path.write_text(jwt.encode(claims, key, "RS256"))


async def test_a_pod_logs_in_with_the_token_of_its_service_account(
    openbao: OpenBao, client: Clients, tmp_path: Path
) -> None:
    reviewed = {
        "kind": "TokenReview",
        "apiVersion": "authentication.k8s.io/v1",
        "status": {
            "authenticated": True,
            "user": {"username": "system:serviceaccount:agents:worker", "uid": "u-1", "groups": []},
        },
    }
    file = tmp_path / "service-account"
    auth = VaultAuth.kubernetes("worker", token_file=file, mount="k8s")
    openbao.ask("POST", "sys/auth/k8s", {"type": "kubernetes"})
    heard: list[bytes] = []
    certificate = trustme.CA().cert_pem.bytes().decode()
    async with responding(
        201, json.dumps(reviewed), {"Content-Type": "application/json"}, heard=heard
    ) as cluster:
        await asyncio.to_thread(
            openbao.ask,
            "POST",
            "auth/k8s/config",
            {"kubernetes_host": cluster, "kubernetes_ca_cert": certificate, "token_reviewer_jwt": "reviewer"},
        )
        openbao.ask(
            "POST",
            "auth/k8s/role/worker",
            {
                "bound_service_account_names": "worker",
                "bound_service_account_namespaces": "agents",
                "token_policies": ["coatcheck"],
            },
        )
        service = client(openbao.new_key(), auth)
        with pytest.raises(ConfigError, match=r"service-account.*cannot be read"):
            await service.generate(CONTEXT)
        account_token(file)
        assert await opens(service)
        assert any(file.read_bytes() in request for request in heard)
        other = client(service.name, VaultAuth.kubernetes("somebody", token_file=file, mount="k8s"))
        with pytest.raises(KeyServiceError, match="refuses the login by Kubernetes") as caught:
            await other.generate(CONTEXT)
        assert not caught.value.retryable


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OpenBao]:
    """A server that the test may seal."""
    with serving(tmp_path) as server:
        yield server


async def test_a_sealed_server_and_one_that_limits_are_worth_a_retry(
    own_server: OpenBao, tmp_path: Path
) -> None:
    role_id, secret_id = own_server.role()
    service = own_server.service(own_server.new_key(), VaultAuth.app_role(role_id, secret_id))
    fresh = own_server.service(service.name, VaultAuth.app_role(role_id, secret_id))
    wrapped = await service.wrap(SECRET, CONTEXT)
    unseal = re.search(r"Unseal Key: (\S+)", (tmp_path / "openbao-0.log").read_text())
    assert unseal is not None
    own_server.ask("PUT", "sys/seal")
    for one in (service, fresh):
        for call in (one.unwrap(wrapped, CONTEXT), one.generate(CONTEXT), one.wrap(SECRET, CONTEXT)):
            with pytest.raises(KeyServiceError, match=r"answers 503.*unsealed") as caught:
                await call
            assert caught.value.retryable
    own_server.ask("PUT", "sys/unseal", {"key": unseal[1]})
    while not is_active(own_server.port):  # noqa: ASYNC110 - the server says when
        await asyncio.sleep(0.05)
    assert await service.unwrap(wrapped, CONTEXT) == SECRET
    limit = {"rate": 1, "interval": "1h", "path": "transit/"}
    own_server.ask("PUT", "sys/quotas/rate-limit/coatcheck", limit)
    assert await service.unwrap(wrapped, CONTEXT) == SECRET
    with pytest.raises(KeyServiceError, match="answers 429") as caught:
        await service.unwrap(wrapped, CONTEXT)
    assert caught.value.retryable
    for one in (service, fresh):
        await one.close()


AWAY = (KeyServiceError, True)
DENIED = (KeyServiceError, False)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (307, AWAY),
        (400, (ConfigError, False)),
        (403, DENIED),
        (404, (KeyUnavailable, True)),
        (408, AWAY),
        (412, AWAY),
        (429, AWAY),
        (500, AWAY),
        (502, AWAY),
        (503, AWAY),
    ],
)
async def test_what_vault_answers_in_our_terms(
    status: int, expected: tuple[type[CoatcheckError], bool]
) -> None:
    heard: list[bytes] = []
    where = {"Location": "https://127.0.0.1:1/v1/elsewhere", "Retry-After": "7"}
    async with responding(status, '{"errors": ["s.secret"]}', where, heard=heard) as endpoint:
        service = VaultTransit(NAME, VaultAuth.token("s.token"), endpoint_url=endpoint)
        with pytest.raises(CoatcheckError) as caught:
            await service.generate(CONTEXT)
        assert (type(caught.value), caught.value.retryable) == expected
        for hidden in ("s.secret", "s.token"):
            assert hidden not in str(caught.value)
        if isinstance(caught.value, KeyServiceError) and status >= 408:
            assert caught.value.retry_after == 7
        assert all(request.partition(b" ")[2].startswith(b"/v1/") for request in heard)
        assert b"X-Vault-Token: s.token" in heard[0]
        await service.close()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"data": 3}',
        '{"data": {"plaintext": 3}}',
        '{"data": {"plaintext": "A"}}',
        f'"{"A" * (1 << 21)}"',
    ],
)
async def test_a_damaged_answer_of_vault_is_not_taken_for_a_key(body: str) -> None:
    async with responding(200, body) as endpoint:
        service = VaultTransit(NAME, VaultAuth.app_role("role"), endpoint_url=endpoint)
        service._client._token = vault_client._Token("s.token", renewable=False, seconds=0, since=0)
        with pytest.raises(KeyServiceError, match="was damaged, or is another service's") as caught:
            await service.unwrap(b"vault:v1:AAAA", CONTEXT)
        assert caught.value.retryable
        assert caught.value.__cause__ is None
        await service.close()


async def test_a_secret_of_another_length_is_no_key(openbao: OpenBao) -> None:
    facts = {"derived": True, "supports_encryption": True}
    short = {"plaintext": base64.b64encode(b"short").decode(), "ciphertext": "vault:v1:AAAA"}
    async with responding(200, json.dumps({"data": {**facts, **short}})) as endpoint:
        service = VaultTransit(NAME, VaultAuth.app_role("role"), endpoint_url=endpoint)
        service._client._token = vault_client._Token("s.token", renewable=False, seconds=0, since=0)
        with pytest.raises(KeyServiceError, match="damaged"):
            await service.generate(CONTEXT)
        await service.close()


async def test_vault_takes_certificates(openbao: OpenBao, tmp_path: Path) -> None:
    issuer: tuple[trustme.CA, Path] = authority(tmp_path)
    auth = VaultAuth.token(openbao.token())
    async with tls_before(openbao.endpoint, issuer[0]) as endpoint:
        name = openbao.new_key().replace(HOST, endpoint.removeprefix("https://"))
        trusting = VaultTransit(name, auth, ca_bundle=str(issuer[1]))
        assert await opens(trusting)
        stranger = VaultTransit(name, auth)
        with pytest.raises(ConfigError, match=r"certificate of .* is not accepted"):
            await stranger.generate(CONTEXT)
        for service in (trusting, stranger):
            await service.close()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "transit/payloads",
        "vault://payloads",
        "vault://host/payloads",
        "vault:///transit/payloads",
        "vault://HOST/transit/payloads",
        "vault://host/transit/../sys/seal",
        "vault://host/transit//payloads",
        "vault://host/transit/pay loads",
        "vault://user@host/transit/payloads",
        "vault://host/transit/payloads?namespace=",
        "vault://host/transit/payloads?namespace=a/../b",
        "vault://host/transit/payloads?role_id=r",
        f"{NAME}\n",
    ],
)
def test_vault_takes_the_name_of_a_key_alone(name: str) -> None:
    with pytest.raises(ConfigError, match="not the name of a key of Vault"):
        VaultTransit(name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("token=s.secret", "unknown option 'token'"),
        ("role_id=r&kubernetes_role=k", "more than one way to a token: role_id, kubernetes_role"),
        ("secret_id_file=/f", "secret_id_file without role_id"),
        ("auth_mount=m", "auth_mount without a login"),
        ("role_id=r&auth_mount=../sys", "not the path of an auth method"),
        ("role_id=", "'role_id' of Vault's URL is empty"),
        ("endpoint_url=ftp://h", "not an http or https address"),
        ("namespace=a&namespace=b", "'namespace' twice"),
    ],
)
def test_a_url_of_vault_in_the_settings_says_what_is_wrong(options: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        open_service(f"{NAME}?{options}")
    assert "s.secret" not in str(caught.value)


async def test_settings_name_the_key_and_the_way_to_it(
    openbao: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    role_id, secret_id = openbao.role()
    (tmp_path / "secret-id").write_text(secret_id)
    (tmp_path / ".vault-token").write_text(openbao.token())
    (tmp_path / "sink").write_text(openbao.token())
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    name, at = openbao.new_key(), f"endpoint_url={openbao.endpoint}"
    for options in (
        f"{at}&role_id={role_id}&secret_id_file={tmp_path}/secret-id&auth_mount=approle",
        f"{at}&token_file={tmp_path}/sink",
        at,
    ):
        service = open_service(f"{name}?{options}")
        assert service.name == name
        assert isinstance(service, VaultTransit)
        assert await opens(service)
        await service.close()
    (tmp_path / ".vault-token").unlink()
    for variable, said in (("", "there is no token of Vault"), ("two words", "VAULT_TOKEN does not contain")):
        monkeypatch.setenv("VAULT_TOKEN", variable)
        service = open_service(f"{name}?{at}")
        with pytest.raises(ConfigError, match=said):
            await service.generate(CONTEXT)
        await service.close()


def test_neither_key_nor_way_shows_a_secret() -> None:
    ways = [VaultAuth.token("s.secret"), VaultAuth.app_role("role", "s.secret")]
    for auth in ways:
        assert "s.secret" not in repr(auth) + repr(VaultTransit(NAME, auth))
    token: Any = vault_client._Token("s.secret", renewable=False, seconds=0, since=0)
    assert "s.secret" not in repr(token)
