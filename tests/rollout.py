"""The steps of a roll-out and of the way back, for the drills of the engines."""

from pathlib import Path
from typing import Final

from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, Zstd
from tests.chains import KEY, OTHER_KEY

STEPS: Final = ("plain", "decode only", "full", "rotated", "decode only, after", "plain, after")
"""Each of them is a fresh process, and takes over what the one before it has left in flight."""
SEALED: Final = ("full", "rotated")


def chain_at(step: str, folder: Path) -> Chain | None:
    """Return the chain of a step; None where there is none."""
    if step.startswith("plain"):
        return None
    keyring = Keyring(KEY) if step in ("decode only", "full") else Keyring(OTHER_KEY, KEY)
    store = FileStore(folder / "payloads")
    return Chain(Zstd(), Encrypt(keyring), Offload(store, over=1024), decode_only=step not in SEALED)


def note(folder: Path, what: str) -> None:
    """Note what was done outside of the journal."""
    folder.mkdir(exist_ok=True)
    with (folder / "notes").open("a") as notes:
        notes.write(f"{what}\n")


def notes_in(folder: Path) -> list[str]:
    notes = folder / "notes"
    return notes.read_text().splitlines() if notes.exists() else []
