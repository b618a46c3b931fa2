"""``with_dbos.py``: a workflow on SQLite, and its result in a store."""

import tempfile
from pathlib import Path

from chains import PAYLOAD, chain_on
from dbos import DBOS, SetWorkflowID

from coatcheck import FileStore
from coatcheck.integrations.dbos import ClaimCheckSerializer


@DBOS.workflow()
def say() -> str:
    return PAYLOAD.hex()


with tempfile.TemporaryDirectory() as folder:
    database = f"{folder}/system.db"
    DBOS(
        config={
            "name": "wheel",
            "system_database_url": f"sqlite:///{database}",
            "serializer": ClaimCheckSerializer(chain_on(FileStore(Path(folder, "payloads")))),
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    with SetWorkflowID("w"):
        assert say() == PAYLOAD.hex()
    assert DBOS.retrieve_workflow("w").get_result() == PAYLOAD.hex()
    DBOS.destroy()
    assert list(Path(folder, "payloads").rglob("*"))
