"""The part of Google Cloud KMS's REST API that wraps keys, on loopback.

No server of it can be had outside of Google, so this one does what its reference says of ``cryptoKeys.encrypt`` and
``cryptoKeys.decrypt``: AES-256-GCM with the additional data, key versions, checksums on both ways, and Google's errors.
"""

import base64
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_STATUS = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}


@dataclass
class GoogleKmsServer:
    """Where it listens, what it has, and what it was asked."""

    endpoint: str = ""
    keys: dict[str, "list[bytes | None]"] = field(default_factory=dict)
    """The versions of each key; None for one that is destroyed. The last encrypts."""
    fault: Callable[[str], web.Response | None] = lambda _: None
    """Called with each request's path before it is served; what it gives is the answer."""
    asked: list[str] = field(default_factory=list)

    def new_key(self) -> str:
        """The name of a new key."""
        name = f"projects/p/locations/europe-west3/keyRings/r/cryptoKeys/key-{len(self.keys) + 1}"
        self.keys[name] = [os.urandom(32)]
        return name

    def error(self, code: int, status: str = "", message: str = "no") -> web.Response:
        said = {"code": code, "message": message, "status": status or _STATUS.get(code, "INTERNAL")}
        return web.json_response({"error": said}, status=code)

    async def serve(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        fault = self.fault(request.path)
        if fault is not None:
            return fault
        name, _, verb = request.path.removeprefix("/v1/").rpartition(":")
        if name not in self.keys:
            return self.error(404)
        field = {"encrypt": "plaintext", "decrypt": "ciphertext"}[verb]
        body = json.loads(await request.read())
        data, bound = (base64.b64decode(body[name]) for name in (field, "additionalAuthenticatedData"))
        sums = (body[f"{field}Crc32c"], body["additionalAuthenticatedDataCrc32c"])
        if sums != (_crc32c(data), _crc32c(bound)):
            return self.error(400)
        return self._encrypt(name, data, bound) if verb == "encrypt" else self._decrypt(name, data, bound)

    def _destroyed(self, name: str, version: int) -> web.Response:
        said = f"{name}/cryptoKeyVersions/{version} is not enabled, current state is: DESTROYED."
        return self.error(400, "FAILED_PRECONDITION", said)

    def _encrypt(self, name: str, data: bytes, bound: bytes) -> web.Response:
        version = len(self.keys[name])
        secret = self.keys[name][-1]
        if secret is None:
            return self._destroyed(name, version)
        nonce = os.urandom(12)
        sealed = bytes((version,)) + nonce + AESGCM(secret).encrypt(nonce, data, bound)
        verified = {"verifiedPlaintextCrc32c": True, "verifiedAdditionalAuthenticatedDataCrc32c": True}
        return _answer("ciphertext", sealed, {"name": f"{name}/cryptoKeyVersions/{version}", **verified})

    def _decrypt(self, name: str, data: bytes, bound: bytes) -> web.Response:
        if not 0 < data[0] <= len(self.keys[name]):
            return self.error(400)
        secret = self.keys[name][data[0] - 1]
        if secret is None:
            return self._destroyed(name, data[0])
        try:
            opened = AESGCM(secret).decrypt(data[1:13], data[13:], bound)
        except InvalidTag:
            return self.error(400)
        return _answer("plaintext", opened, {"usedPrimary": data[0] == len(self.keys[name])})


@asynccontextmanager
async def google_kms() -> AsyncIterator[GoogleKmsServer]:
    """Serve from a free port of 127.0.0.1."""
    server = GoogleKmsServer()
    application = web.Application()
    application.router.add_post("/v1/{rest:.+}", server.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        [address] = runner.addresses
        server.endpoint = f"http://127.0.0.1:{address[1]}"
        yield server
    finally:
        await runner.cleanup()


def _crc32c(data: bytes) -> str:
    return str(google_crc32c.value(data))


def _answer(field: str, data: bytes, more: dict[str, Any]) -> web.Response:
    return web.json_response(
        {field: base64.b64encode(data).decode(), f"{field}Crc32c": _crc32c(data), **more}
    )
