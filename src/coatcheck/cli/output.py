"""Output files of commands."""

import os
import secrets
from pathlib import Path


def check_output(path: Path, *, force: bool) -> None:
    """Check early that :func:`write_output` will accept ``path``.

    Args:
        path: The file to write.
        force: Accept an existing file.

    Raises:
        OSError: ``path`` exists and ``force`` is not given, or it is a folder, or its folder does not exist.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    if not path.parent.is_dir():
        raise NotADirectoryError(f"the folder of {path} does not exist")
    if not force and os.path.lexists(path):
        raise FileExistsError(f"{path} already exists; use --force to overwrite it")


def write_output(path: Path, data: bytes, *, force: bool) -> None:
    """Write ``path`` completely or not at all, durably, readable by its owner only.

    Args:
        path: The file.
        data: Its content.
        force: Overwrite an existing file.

    Raises:
        OSError: As for :func:`check_output`, also if another process created the file meanwhile; or the disk is full.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if force:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)
    except FileExistsError:
        check_output(path, force=force)
        raise
    finally:
        temporary.unlink(missing_ok=True)
