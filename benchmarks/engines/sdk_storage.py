"""What the SDK's own S3 driver needs, kept apart.

aioboto3 takes botocore back to the release that its aiobotocore is pinned to (15.5.0: botocore 1.40.61), and that is not
the botocore that everything else here is used with. So it lies in a folder below ``.cache``, which is put in front of
``PYTHONPATH`` for the processes that use it; they share interpreter and SDK with all others.
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
    """Variables of a process that uses the driver. Installs what it needs if it is not there.

    Raises:
        CalledProcessError: It cannot be installed; pip has said why on standard error.
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
        # Another process may have been faster; a folder that has something in it is never replaced.
        with suppress(OSError):
            new.rename(_FOLDER)
