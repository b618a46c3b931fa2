"""The settings of a worker process, and the chain that it and the demo share."""

import json
from dataclasses import asdict, dataclass

from temporalio.client import Client

from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, Zstd
from coatcheck.cli.demo.server import ServerAddress
from coatcheck.integrations.temporal import ClaimCheckPlugin


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings of a worker process."""

    server: ServerAddress
    task_queue: str
    folder: str | None
    """The folder of offloaded objects; None for a worker without the chain."""
    hold_at: int | None = None
    """The turn during which the worker waits until it is killed."""

    def to_text(self) -> str:
        """Return the settings as one line, for the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "WorkerSettings":
        """Parse the output of :meth:`to_text`."""
        fields = json.loads(text)
        return cls(**{**fields, "server": ServerAddress(**fields["server"])})


async def connect(server: ServerAddress, folder: str | None, keyring: Keyring | None = None) -> Client:
    """Connect a client, with the chain on ``folder`` if one is given.

    Args:
        server: The server.
        folder: The folder of offloaded objects; None for a client without the chain.
        keyring: The chain's keys; None takes those of the environment, ``COATCHECK_KEYS``.
    """
    if folder is None:
        return await Client.connect(server.address, namespace=server.namespace)
    chain = Chain(Zstd(level=3), Encrypt(keyring or Keyring.from_env()), Offload(FileStore(folder)))
    return await Client.connect(server.address, namespace=server.namespace, plugins=[ClaimCheckPlugin(chain)])
