"""The steps of a roll-out, and back: what a process is set up with at each."""

from pathlib import Path

from temporalio.client import Plugin

from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, PayloadCache, Zstd
from coatcheck.integrations.temporal import ClaimCheckPlugin
from tests.chains import KEY, OTHER_KEY

STEPS = ("plain", "decode only", "full", "native", "codec", "rotated", "back", "gone")
LAST_SEALED = "rotated"
"""What begins after it has nothing sealed, and may be in flight when the chain goes."""


def plugins_of(step: str, folder: Path) -> list[Plugin]:
    """Return the client's plug-ins, of a process that has nothing in memory."""
    if step in {"plain", "gone"}:
        return []
    keyring = Keyring(KEY) if STEPS.index(step) < STEPS.index("rotated") else Keyring(OTHER_KEY, KEY)
    chain = Chain(
        Zstd(),
        Encrypt(keyring),
        Offload(FileStore(folder), over=1024),
        decode_only=step in {"decode only", "back"},
        cache=PayloadCache(2**24),
    )
    return [ClaimCheckPlugin(chain, mode="native" if step == "native" else "codec")]
