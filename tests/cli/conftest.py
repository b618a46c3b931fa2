"""What several commands are tested with."""

from pathlib import Path

import pytest

from tests.chains import KEY
from tests.engines.restate import restate_server

__all__ = ["restate_server"]


@pytest.fixture
def payloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the settings name as store; payloads above 256 bytes go there, sealed."""
    folder = tmp_path / "payloads"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COATCHECK_KEYS", KEY.to_text())
    monkeypatch.setenv("COATCHECK_OFFLOAD__STORE", f"file://{folder}")
    monkeypatch.setenv("COATCHECK_OFFLOAD__OVER", "256")
    return folder
