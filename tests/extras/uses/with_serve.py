"""``with_serve.py``: the codec server, asked over a socket."""

import asyncio
from http.client import HTTPConnection
from threading import Event, Thread

from chains import SCOPE, chain_on
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from coatcheck import MemoryStore
from coatcheck.integrations.temporal import ClaimCheckCodec
from coatcheck.server.app import create_app
from coatcheck.server.listening import HttpServer, bind
from coatcheck.settings.serve import ServeSettings

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"%s"' % (b"tides " * 2_000))

chain = chain_on(MemoryStore())
sealed = asyncio.run(ClaimCheckCodec(chain, SCOPE).encode([PLAIN]))
settings = ServeSettings(port=0)
with bind(settings) as listener:
    started = Event()
    server = HttpServer(create_app(chain, settings), settings, started.set)
    thread = Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        assert started.wait(20)
        connection = HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=30)
        body = json_format.MessageToJson(Payloads(payloads=sealed))
        headers = {"X-Namespace": SCOPE.tenant, "Content-Type": "application/json"}
        connection.request("POST", "/decode", body, headers)
        answer = json_format.Parse(connection.getresponse().read(), Payloads())
        connection.close()
        assert list(answer.payloads) == [PLAIN]
    finally:
        server.should_exit = True
        thread.join(20)
