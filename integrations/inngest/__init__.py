"""Inngest: steps, events and results go through the chain before Inngest journals them.

``inngest.Inngest(app_id=..., middleware=[claim_check(chain)])`` is all there is to it. Needs the extra
``coatcheck[inngest]``.
"""

from coatcheck.runtime.extras import require_extra

with require_extra("inngest"):
    from coatcheck.format.shown import MARKER
    from coatcheck.integrations.inngest.hosts import Host
    from coatcheck.integrations.inngest.middleware import ClaimCheck, claim_check
    from coatcheck.integrations.inngest.migration.libsodium import EncryptionReader
    from coatcheck.integrations.inngest.migration.remote_state import RemoteStateReader
    from coatcheck.integrations.inngest.payloads import FormatReader
    from coatcheck.integrations.inngest.step_report import StepReport

__all__ = [
    "MARKER",
    "ClaimCheck",
    "EncryptionReader",
    "FormatReader",
    "Host",
    "RemoteStateReader",
    "StepReport",
    "claim_check",
]
