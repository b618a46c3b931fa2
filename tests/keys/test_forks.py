"""Keys of tenants in a process that was forked after they were used, as gunicorn with ``--preload`` does it."""

import asyncio

from coatcheck import Chain, Encrypt, MemoryStore, TenantKeys
from tests.chains import SCOPE
from tests.engines.aws_kms import AwsKmsServer
from tests.keys.conftest import of_aws
from tests.runtime.test_forks import in_child

PAYLOAD = b"payload"


def test_keys_of_aws_can_be_had_in_a_child_and_in_its_parent(aws_kms: AwsKmsServer) -> None:
    kms = of_aws(aws_kms)
    store, service = MemoryStore(), kms.new()
    chain = Chain(Encrypt(TenantKeys(store, service, label="test")))
    journal = asyncio.run(chain.encode(PAYLOAD, SCOPE))
    assert service._client is not None  # type: ignore[attr-defined]

    def opens() -> bool:
        # A lock that a thread held at the fork would never be free here.
        fresh = Chain(Encrypt(TenantKeys(store, service, label="test")))
        return all(asyncio.run(one.decode(journal, SCOPE)) == PAYLOAD for one in (chain, fresh))

    with service._opening:  # type: ignore[attr-defined]
        assert in_child(opens)
    assert opens()
    asyncio.run(chain.close())
