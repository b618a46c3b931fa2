"""Files of a store made older than they are: other processes see them so as well."""

import os
from datetime import timedelta
from pathlib import Path

from coatcheck import Encrypt, Keyring
from coatcheck.format.suites import ScopeSealer
from coatcheck.storage.sweep_marks import SweepMark, is_sweeps_own, opened_mark, seal_mark
from tests.chains import KEY

_SEALING = Encrypt(Keyring(KEY))


def age(folder: Path, by: timedelta, *tenants: str) -> None:
    """Everything that is there now was written that much earlier, and marks of sweeps say so.

    Args:
        folder: Of the store.
        by: How much.
        *tenants: All whose scopes have marks; sealed under the key that tests share.
    """
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        modified = path.stat().st_mtime_ns - int(by.total_seconds() * 1e9)
        if is_sweeps_own(path.name):
            path.write_bytes(_older(path, by, tenants))
        os.utime(path, ns=(modified, modified))


def _older(path: Path, by: timedelta, tenants: tuple[str, ...]) -> bytes:
    tenant_tag, run_tag = path.parts[-4:-2]  # behind them the store's own folder, and the name
    for tenant in tenants:
        sealer = _SEALING.sealer(tenant, bytes.fromhex(run_tag), KEY.id)
        if sealer.tenant_tag.hex() == tenant_tag:
            scope = ScopeSealer(_SEALING.suite, KEY.id, bytes.fromhex(run_tag), sealer)
            mark = opened_mark(scope, path.name, path.read_bytes())
            return seal_mark(scope, path.name, SweepMark(mark.id, mark.made - by, mark.until - by))
    raise AssertionError(f"{path} is of none of the tenants {tenants}")
