"""Restate: journal values go through the chain before the server journals them.

``ClaimCheck(chain).app([service, ...])`` in place of ``restate.app([service, ...])`` is all there is to it
(``docs/restate.md``). Needs the extra ``coatcheck[restate]``.
"""

from coatcheck.runtime.extras import require_extra

with require_extra("restate"):
    from coatcheck.integrations.restate.claim_check import ClaimCheck
    from coatcheck.integrations.restate.client import ClaimCheckClient

__all__ = ["ClaimCheck", "ClaimCheckClient"]
