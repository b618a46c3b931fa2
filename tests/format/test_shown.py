"""Texts that a dashboard shows are found again, wherever they stand."""

import base64
import random

import pytest

from coatcheck import Scope
from coatcheck.format.shown import sealed_in_text
from coatcheck.format.wire import is_reference
from tests.chains import encrypted_chain

SCOPE = Scope("tenant", "run")


@pytest.mark.parametrize("size", range(300, 306))
async def test_every_form_in_which_it_is_shown(size: int) -> None:
    # Nothing that compresses: the lengths need every number of bytes of padding.
    payload = random.Random(size).randbytes(3 * size)
    envelope, reference = [
        await encrypted_chain().encode(data, SCOPE) for data in (payload[: size - 200], payload)
    ]
    assert not is_reference(envelope)
    assert is_reference(reference)
    for data in (envelope, reference):
        padded = base64.b64encode(data).decode()
        safe = base64.urlsafe_b64encode(data).decode()
        for text in (
            *(padded, padded.rstrip("="), safe, safe.rstrip("="), f"  {safe}\n", f'"{safe}"'),
            *(data.hex(), data.hex().upper(), f"0x{data.hex()}", f"\\x{data.hex()}"),
            *(f"coatcheck:{safe.rstrip('=')}", f'"coatcheck:{safe}"'),
            *(f'{{"__coatcheck__": "{safe}"}}', f'{{"order": 7, "__coatcheck__":"{safe.rstrip("=")}"}}'),
        ):
            assert sealed_in_text(text) == data


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "workflow-7",
        "coatcheck:",
        "coatcheck:=hello",
        "c0",
        "wKfE7",
        '{"__coatcheck__": [1]}',
        "[" * 100_000,
    ],
)
def test_what_is_nothing_of_ours(text: str) -> None:
    assert sealed_in_text(text) is None
