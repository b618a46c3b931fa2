"""AWS Lambda's side of things: ``python -m tests.integrations.restate.lambda_process PORT FOLDER``.

A server that hands each request to a Lambda handler as AWS's own gateway does, and its response back. The handler is
made as on AWS, where the SDK makes no ASGI app.
"""

import base64
import os
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from restate import Context, Service

from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Zstd
from coatcheck.integrations.restate import ClaimCheck
from tests.integrations.restate.agents import text


def service() -> Service:
    """Two steps, each with a result that is offloaded."""
    made = Service("OnLambda")

    @made.handler()
    async def work(ctx: Context, task: str) -> str:
        first = await ctx.run_typed("first", lambda: text("first"))
        return task + first + await ctx.run_typed("second", lambda: text("second"))

    return made


def chain_in(folder: Path) -> Chain:
    """Of the function, and of its callers."""
    return Chain(Zstd(), Encrypt(Keyring(Key(bytes(32)))), Offload(FileStore(folder / "payloads")))


def main(port: int, folder: Path) -> None:
    """Serve until killed."""
    os.environ["AWS_LAMBDA_FUNCTION_NAME"] = "agent"
    handler = ClaimCheck(chain_in(folder)).app([service()])

    class Gateway(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = b"".join(self._chunks())
            event = {
                "httpMethod": self.command,
                "path": self.path,
                "headers": dict(self.headers.items()),
                "body": base64.b64encode(body).decode(),
                "isBase64Encoded": True,
            }
            self._answer(handler(event, None))

        do_GET = do_POST  # noqa: N815 - the name that the base class looks for

        def _chunks(self) -> Iterator[bytes]:
            if "chunked" not in self.headers.get("transfer-encoding", ""):
                yield self.rfile.read(int(self.headers.get("content-length", 0)))
                return
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        def _answer(self, response: Any) -> None:
            body = base64.b64decode(response["body"])
            self.send_response(response["statusCode"])
            for name, value in response["headers"].items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)

    HTTPServer(("127.0.0.1", port), Gateway).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
