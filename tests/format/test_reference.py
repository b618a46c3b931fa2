"""The reference: small, strict, and with one form only."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from coatcheck import Chain, Encrypt, FormatError, Keyring, MemoryStore, Offload, Reference
from tests.chains import KEY, SCOPE

references = st.builds(
    Reference,
    suite=st.integers(0, 255),
    key_id=st.binary(min_size=4, max_size=4),
    run_tag=st.binary(min_size=16, max_size=16),
    object_id=st.binary(min_size=32, max_size=32),
    size=st.integers(0, 2**49 - 1),
    store=st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=32),
    bases=st.lists(st.binary(min_size=32, max_size=32), max_size=8).map(tuple),
    mac=st.binary(min_size=16, max_size=16),
)


@given(references)
def test_the_binary_form_brings_back_the_reference(reference: Reference) -> None:
    assert Reference.from_bytes(reference.to_bytes()) == reference


@given(references, st.data())
def test_each_reference_has_exactly_one_binary_form(reference: Reference, data: st.DataObject) -> None:
    form = reference.to_bytes()
    position = data.draw(st.integers(0, len(form) - 1))
    other = form[:position] + data.draw(st.binary(min_size=1, max_size=3)) + form[position + 1 :]
    try:
        parsed = Reference.from_bytes(other)
    except FormatError:
        return
    assert parsed.to_bytes() == other


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_reference_or_a_format_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        Reference.from_bytes(data)


@given(references)
def test_the_text_form_brings_back_the_reference(reference: Reference) -> None:
    text = reference.to_text()
    assert Reference.from_text(text) == reference
    assert str(reference) == f"{reference}" == text
    assert re.fullmatch(r"[A-Za-z0-9_-]+", text)
    assert len(text) == -(-len(reference.to_bytes()) * 4 // 3)


@given(references, st.data())
def test_each_reference_has_exactly_one_text_form(reference: Reference, data: st.DataObject) -> None:
    text = reference.to_text()
    position = data.draw(st.integers(0, len(text)))
    wrong = data.draw(st.text("AZaz09-_+/=. \n\u00e9\ud800", max_size=4))
    other = text[:position] + wrong + text[position + data.draw(st.integers(0, 4)) :]
    try:
        parsed = Reference.from_text(other)
    except FormatError:
        return
    assert parsed.to_text() == other


def test_a_text_that_is_no_reference_is_not_repeated() -> None:
    for text in ("CANARY", "CANARY+", "Q0FOQVJZ" * 9):
        with pytest.raises(FormatError) as caught:
            Reference.from_text(text)
        assert "CANARY" not in repr(caught.value)
        assert "Q0FO" not in repr(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "=",
        lambda text: text + "==",
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:-1],
        lambda text: text[:-1] + chr(ord(text[-1]) + 1),
        lambda text: text.replace("-", "+").replace("_", "/"),
        lambda text: "",
        lambda text: text * 2,
        lambda text: text.encode().hex(),
    ],
)
def test_other_texts_are_refused(change: Callable[[str], str]) -> None:
    reference = Reference(
        suite=1, key_id=b"\xff" * 4, run_tag=b"\xfb" * 16, object_id=bytes(32), size=1, store="d"
    )
    with pytest.raises(FormatError):
        Reference.from_text(change(reference.to_text()))


async def test_it_takes_at_most_120_bytes_in_the_journal() -> None:
    for alias in ("default", "prod-eu-payloads"):
        chain = Chain(Encrypt(Keyring(KEY)), Offload(MemoryStore(), over=0, alias=alias))
        assert len(await chain.encode(bytes(2_000_000), SCOPE)) <= 120


@pytest.mark.parametrize(
    "change",
    [
        {"suite": 256},
        {"suite": "1"},
        {"key_id": bytes(3)},
        {"run_tag": bytes(17)},
        {"object_id": bytes(31)},
        {"object_id": "a" * 32},
        {"size": -1},
        {"size": 2**49},
        {"store": ""},
        {"store": "s3://bucket"},
        {"store": "../up"},
        {"store": "a\n"},
        {"bases": (b"short",)},
        {"mac": b""},
        {"bucket": "anything"},
    ],
    ids=str,
)
def test_the_model_is_strict(change: dict[str, object]) -> None:
    fields: dict[str, object] = {
        "suite": 1,
        "key_id": bytes(4),
        "run_tag": bytes(16),
        "object_id": bytes(32),
        "size": 1,
        "store": "default",
    }
    Reference.model_validate(fields)
    with pytest.raises(ValidationError):
        Reference.model_validate(fields | change)


def test_a_future_version_says_which_side_to_upgrade() -> None:
    form = bytearray(
        Reference(
            suite=1, key_id=bytes(4), run_tag=bytes(16), object_id=bytes(32), size=1, store="d"
        ).to_bytes()
    )
    form[4] = 2
    with pytest.raises(FormatError, match=r"version 2; this release reads version 1.*Upgrade"):
        Reference.from_bytes(bytes(form))


@pytest.mark.parametrize("count", [255, 256])
def test_a_list_of_bases_has_a_length_of_one_byte(count: int) -> None:
    fields: dict[str, Any] = {"suite": 0, "key_id": bytes(4), "run_tag": bytes(16), "object_id": bytes(32)}
    bases = tuple(number.to_bytes(32, "big") for number in range(count))
    if count == 256:
        with pytest.raises(ValidationError):
            Reference(**fields, size=1, store="default", bases=bases)
        return
    reference = Reference(**fields, size=1, store="default", bases=bases)
    assert Reference.from_bytes(reference.to_bytes()) == reference


@given(references)
def test_what_was_verified_cannot_be_changed(reference: Reference) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        reference.size = 0  # type: ignore[misc]
