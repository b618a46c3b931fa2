"""References are found wherever they stand, in either form."""

from hypothesis import given
from hypothesis import strategies as st

from coatcheck.format.reference import Reference
from coatcheck.format.wire import KEY_ID_LENGTH, MAC_LENGTH, OBJECT_ID_LENGTH, TAG_LENGTH
from coatcheck.retention.live import run_tags_in

_FIELDS = st.fixed_dictionaries(
    {
        "suite": st.integers(0, 255),
        "key_id": st.binary(min_size=KEY_ID_LENGTH, max_size=KEY_ID_LENGTH),
        "run_tag": st.binary(min_size=TAG_LENGTH, max_size=TAG_LENGTH),
        "object_id": st.binary(min_size=OBJECT_ID_LENGTH, max_size=OBJECT_ID_LENGTH),
        "size": st.integers(0, 2**49 - 1),
        "store": st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True),
        "mac": st.binary(min_size=MAC_LENGTH, max_size=MAC_LENGTH),
    }
)
_FORMS = st.tuples(st.builds(lambda fields: Reference(**fields), _FIELDS), st.booleans())


@given(parts=st.lists(st.tuples(st.binary(), _FORMS), max_size=5), tail=st.binary())
def test_every_reference_is_found(parts: list[tuple[bytes, tuple[Reference, bool]]], tail: bytes) -> None:
    data = b"".join(
        between + (reference.to_text().encode() if as_text else reference.to_bytes())
        for between, (reference, as_text) in parts
    )
    assert {reference.run_tag for _, (reference, _) in parts} <= set(run_tags_in(data + tail))


@given(cut=st.integers(0, 80), form=_FORMS)
def test_what_only_begins_like_a_reference_hides_none(cut: int, form: tuple[Reference, bool]) -> None:
    reference, as_text = form
    whole = reference.to_text().encode() if as_text else reference.to_bytes()
    assert reference.run_tag in set(run_tags_in(whole[:cut] + whole))


@given(data=st.binary())
def test_in_other_bytes_there_is_none(data: bytes) -> None:
    assert list(run_tags_in(data)) == []
