"""AWS Durable Execution: results of operations go through the chain before they are checkpointed.

``@ClaimCheck(chain).durable_execution`` in place of the SDK's ``@durable_execution`` is all there is to it. Needs the extra
``coatcheck[aws-durable]``.
"""

from coatcheck.runtime.extras import require_extra

with require_extra("aws-durable"):
    from coatcheck.integrations.aws_durable.claim_check import ClaimCheck
    from coatcheck.integrations.aws_durable.context import ClaimCheckContext
    from coatcheck.integrations.aws_durable.live_executions import DurableExecutions
    from coatcheck.integrations.aws_durable.savings import Savings
    from coatcheck.integrations.aws_durable.serdes import ClaimCheckSerDes, Plain

__all__ = ["ClaimCheck", "ClaimCheckContext", "ClaimCheckSerDes", "DurableExecutions", "Plain", "Savings"]
