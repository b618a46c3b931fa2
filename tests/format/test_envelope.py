"""The envelope's header: one form, parsed without trust."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck import FormatError
from coatcheck.format.envelope import Envelope, EnvelopeHeader
from coatcheck.format.wire import Reader, size_to_bytes

headers = st.builds(
    EnvelopeHeader,
    suite=st.integers(0, 255),
    key_id=st.binary(min_size=4, max_size=4),
    run_tag=st.binary(min_size=16, max_size=16),
    codecs=st.lists(
        st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=32), max_size=5
    ).map(tuple),
    size=st.integers(0, 2**49 - 1),
    bases=st.lists(st.binary(min_size=32, max_size=32), max_size=5).map(tuple),
)


@given(headers, st.binary(max_size=100))
def test_an_envelope_comes_apart_as_it_was_put_together(header: EnvelopeHeader, sealed: bytes) -> None:
    envelope = Envelope.from_bytes(header.to_bytes() + sealed)
    assert envelope.header == header
    assert envelope.header_bytes == header.to_bytes()
    assert bytes(envelope.sealed) == sealed


@given(headers, st.data())
def test_each_header_has_exactly_one_form(header: EnvelopeHeader, data: st.DataObject) -> None:
    form = header.to_bytes()
    position = data.draw(st.integers(0, len(form) - 1))
    other = form[:position] + data.draw(st.binary(min_size=1, max_size=3)) + form[position + 1 :]
    try:
        parsed = Envelope.from_bytes(other)
    except FormatError:
        return
    assert parsed.header.to_bytes() == parsed.header_bytes


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_format_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        Envelope.from_bytes(data)


@given(st.integers(0, 2**49 - 1))
def test_sizes_come_back(size: int) -> None:
    assert Reader(size_to_bytes(size), "test").size() == size


@pytest.mark.parametrize("form", ["", "80", "8000", "808000", "ff" * 7 + "01", "80" * 9])
def test_sizes_in_another_form_are_refused(form: str) -> None:
    with pytest.raises(FormatError):
        Reader(bytes.fromhex(form), "test").size()


@pytest.mark.parametrize("form", ["", "00", "0141", "012f", "0161"[:2], "21" + "61" * 33, "0261"])
def test_names_in_another_form_are_refused(form: str) -> None:
    with pytest.raises(FormatError):
        Reader(bytes.fromhex(form), "test").name()
