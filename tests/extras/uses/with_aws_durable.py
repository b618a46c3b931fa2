"""``with_aws_durable.py``: an event by its reference. The SDK's local runner is a package of its own."""

from chains import PAYLOAD, chain_on

from coatcheck import MemoryStore
from coatcheck.integrations.aws_durable import ClaimCheck

claims = ClaimCheck(chain_on(MemoryStore()))
journal = claims.dump(PAYLOAD.hex())
assert len(journal) < 1_000, len(journal)
assert claims.load(journal) == PAYLOAD.hex()
