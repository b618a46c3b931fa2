"""``with_durabletask.py``: a payload by its token."""

from chains import PAYLOAD, chain_on

from coatcheck import MemoryStore
from coatcheck.integrations.durabletask import ClaimCheckPayloadStore

payloads = ClaimCheckPayloadStore(chain_on(MemoryStore()))
token = payloads.upload(PAYLOAD.hex().encode(), instance_id="agent")
assert len(token) < 1_000, len(token)
assert payloads.is_known_token(token)
assert payloads.download(token) == PAYLOAD.hex().encode()
