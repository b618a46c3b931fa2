"""Durable Task: payloads of orchestrations, activities and entities go through the chain before the back end has them.

``TaskHubGrpcWorker(payload_store=ClaimCheckPayloadStore(chain))``, and the same for clients, is all there is to it
(``docs/durabletask.md``). Needs the extra ``coatcheck[durabletask]``.
"""

from coatcheck.runtime.extras import require_extra

with require_extra("durabletask"):
    from coatcheck.integrations.durabletask.converter import SealingConverter
    from coatcheck.integrations.durabletask.live_runs import DurableTaskRuns
    from coatcheck.integrations.durabletask.migration.blobs import BlobReader
    from coatcheck.integrations.durabletask.payload_store import ClaimCheckPayloadStore, TokenReader

__all__ = ["BlobReader", "ClaimCheckPayloadStore", "DurableTaskRuns", "SealingConverter", "TokenReader"]
