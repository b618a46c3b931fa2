"""DBOS: whatever DBOS serializes goes through the chain before it reaches the system database.

``DBOS(config={..., "serializer": ClaimCheckSerializer(chain)})`` is all there is to it. Needs the extra
``coatcheck[dbos]``.
"""

from coatcheck.runtime.extras import require_extra

with require_extra("dbos"):
    from coatcheck.integrations.dbos.live_runs import DBOSRuns
    from coatcheck.integrations.dbos.serializer import ClaimCheckSerializer

__all__ = ["ClaimCheckSerializer", "DBOSRuns"]
