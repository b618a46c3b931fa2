"""What is sealed is AES-256-GCM under HKDF-SHA512, computed from the primitives that the published vectors are run on."""

import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from coatcheck import Encrypt, Key, Keyring, Scope
from tests import reader

keys = st.binary(min_size=32, max_size=32)
names = st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable())


@given(
    keys,
    st.builds(Scope, names, names),
    st.binary(max_size=60),
    st.binary(max_size=60),
    st.binary(max_size=300),
)
def test_every_byte_of_a_sealed_body_is_what_the_document_says(
    secret: bytes, scope: Scope, header: bytes, context: bytes, body: bytes
) -> None:
    values = reader.intermediates(secret, scope.tenant, scope.run)
    bound = reader.framed(header, context)
    salt = hmac.digest(values["salt_key"], bound + body, "sha256")
    message = reader.hkdf(values["data_key"], salt, b"coatcheck/v1/message" + bound, 64)
    expected = header + salt + message[32:] + AESGCM(message[:32]).encrypt(bytes(12), body, bound)

    encrypt = Encrypt(Keyring(Key(secret)))
    tag = encrypt.run_tag(scope, encrypt.primary_key_id(scope.tenant))
    sealer = encrypt.sealer(scope.tenant, tag, encrypt.primary_key_id(scope.tenant))
    assert sealer.seal(header, context, body) == expected
    assert sealer.open(header, context, memoryview(expected)[len(header) :]) == body
