"""What a worker process is told, and the chain that it and the demo share."""

import json
from dataclasses import asdict, dataclass

from temporalio.client import Client

from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, Zstd
from coatcheck.cli.demo.server import Server
from coatcheck.integrations.temporal import ClaimCheckPlugin


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker process is told."""

    server: Server
    task_queue: str
    folder: str | None
    """Where offloaded objects go; None for a worker without the chain."""
    hold_at: int | None = None
    """The turn in the middle of which the worker stays until it is killed."""

    def to_text(self) -> str:
        """One line, for the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "WorkerSettings":
        """Undo :meth:`to_text`."""
        fields = json.loads(text)
        return cls(**{**fields, "server": Server(**fields["server"])})


async def connect(server: Server, folder: str | None, keyring: Keyring | None = None) -> Client:
    """A client of the server, with the chain on ``folder`` if one is given.

    Args:
        server: Which server.
        folder: Where offloaded objects go; None for a client without the chain.
        keyring: The chain's keys; None takes those of the environment, ``COATCHECK_KEYS``.
    """
    if folder is None:
        return await Client.connect(server.address, namespace=server.namespace)
    chain = Chain(Zstd(level=3), Encrypt(keyring or Keyring.from_env()), Offload(FileStore(folder)))
    return await Client.connect(server.address, namespace=server.namespace, plugins=[ClaimCheckPlugin(chain)])
