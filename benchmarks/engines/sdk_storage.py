"""A separate installation of the SDK's own S3 driver.

aioboto3 needs the old botocore that its aiobotocore is pinned to (15.5.0: botocore 1.40.61), which is not the botocore of
everything else here. So it is installed into a folder below ``.cache``, which is first in ``PYTHONPATH`` for the processes
that use it; they share interpreter and SDK with all others.
"""

import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

_PACKAGES = ("aioboto3>=15.5", "types-aiobotocore-s3>=2.25")
_FOLDER = Path(__file__).parents[2] / ".cache" / "sdk-s3driver"


def environment() -> Mapping[str, str]:
    """Return the environment variables of a process that uses the driver; install the driver if it is missing.

    Raises:
        CalledProcessError: The installation failed; pip's standard error has the reason.
    """
    if not _FOLDER.exists():
        _install()
    return {"PYTHONPATH": str(_FOLDER)}


def _install() -> None:
    print(f"installing {_PACKAGES[0]} into {_FOLDER}", file=sys.stderr)
    _FOLDER.parent.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=_FOLDER.parent) as beside:
        new = Path(beside, "new")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", str(new), *_PACKAGES], check=True)  # noqa: S603 - our own
        # Another process may have been faster; a non-empty folder is never replaced.
        with suppress(OSError):
            new.rename(_FOLDER)
