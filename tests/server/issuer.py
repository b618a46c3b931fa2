"""Who issues access tokens: real keys, and a real endpoint on loopback that publishes them."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.server.serving import NAMESPACE

ISSUER, AUDIENCE = "https://issuer.example.com/", "coatcheck"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@cache
def private_keys() -> dict[str, PrivateKey]:
    """One of each kind, by its id. Making RSA keys takes long."""
    return {
        "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "rsa-512": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "ed": ed25519.Ed25519PrivateKey.generate(),
        "stranger": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    }


def jwk(key_id: str) -> dict[str, Any]:
    """The public half, as an issuer publishes it."""
    match private_keys()[key_id]:
        case rsa.RSAPrivateKey() as key:
            public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ec.EllipticCurvePrivateKey() as key:
            public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case key:
            public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    # A published key that does not say what it is for is for RS256, ES256 or EdDSA.
    stated = {"alg": "RS512"} if key_id == "rsa-512" else {}
    return {**public, **stated, "kid": key_id, "use": "sig"}


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says, with changes; None leaves a claim out."""
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "exp": int(time.time()) + 600,
        "permissions": [f"{NAMESPACE}:read"],
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def token(key_id: str = "rsa", algorithm: str = "RS256", signer: str = "", **changes: Any) -> str:
    """A token that is signed by the key ``signer``, which says that it is ``key_id``."""
    key = private_keys()[signer or key_id]
    return jwt.encode(claims(**changes), key, algorithm, headers={"kid": key_id})


class Issuer:
    """Publishes keys; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        keys = [jwk(name) for name in private_keys() if name != "stranger"]
        self.body: bytes | None = json.dumps({"keys": keys}).encode()
        self.url = ""

    def settings(self, **changes: Any) -> Mapping[str, Any]:
        """The section ``[serve.jwt]``."""
        return {"jwks_url": self.url, "issuer": ISSUER, "audience": AUDIENCE, **changes}


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Serve the keys of an issuer until the block ends."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            self.send_response(503 if issuer.body is None else 200)
            self.end_headers()
            self.wfile.write(issuer.body or b"")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_port}/keys"
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
