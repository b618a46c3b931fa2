"""The barrier's knowledge of Restate's protocol, against messages that the SDK itself makes."""

import struct

import pytest
from restate.vm import VMWrapper

from coatcheck import FormatError
from coatcheck.integrations.restate.protocol import error_message, substitute

REFERENCE = b"\xc0\xa7\xc4\xec the reference"
HEADERS = [("content-type", "application/vnd.restate.invocation.v6")]
INPUT = 0x0400


def message(kind: int, body: bytes) -> bytes:
    return struct.pack(">II", kind << 16, len(body)) + body


def machine() -> VMWrapper:
    """The SDK's state machine at the beginning of an invocation."""
    start = b"".join((b"\x0a\x10" + bytes(16), b"\x12\x05inv_1", b"\x18\x01", b"\x32\x01k"))
    vm = VMWrapper(HEADERS, disable_payload_checks=True)
    vm.notify_input(message(0x0000, start))
    vm.notify_input(message(INPUT, b"\x72\x02\x0a\x00"))
    vm.sys_input()
    return vm


@pytest.mark.parametrize("size", [1, 86, 127, 128, 16_383, 16_384, 3_000_000])
def test_a_value_takes_the_place_of_another_one_in_every_kind_of_message(size: int) -> None:
    old, new = machine(), machine()
    value = b"\x01" * size
    for vm, data in (old, REFERENCE), (new, value):
        vm.sys_set_state("name", data)
        vm.sys_call("Service", "handler", data, "key")
        vm.sys_send("Service", "handler", data, "key")
        vm.sys_resolve_awakeable("prom_1" + "A" * 30, data)
        vm.sys_complete_promise_success("promise", data)
        vm.sys_get_state("name")
        vm.sys_set_state("other", b"what is " + REFERENCE + b" by chance")
        vm.sys_write_output_success(data)
        vm.sys_end()  # type: ignore[no-untyped-call]
    assert substitute(old.take_output(), {REFERENCE: value}) == new.take_output()


def test_the_result_of_a_step_is_exchanged() -> None:
    old, new = machine(), machine()
    for vm, data in (old, REFERENCE), (new, bytes(1000)):
        vm.propose_run_completion_success(vm.sys_run("step").handle, data)
    assert substitute(old.take_output(), {REFERENCE: bytes(1000)}) == new.take_output()


def test_what_holds_nothing_to_exchange_is_not_looked_at() -> None:
    assert substitute(b"no message at all", {REFERENCE: b"new"}) == b"no message at all"


@pytest.mark.parametrize("cut", [1, 7, 8, 20])
def test_half_a_message_is_refused(cut: int) -> None:
    vm = machine()
    vm.sys_set_state("name", REFERENCE)
    vm.sys_set_state("name", b"and another one")
    with pytest.raises(FormatError):
        substitute(vm.take_output()[:-cut], {REFERENCE: b"new"})


@pytest.mark.parametrize("version", [5, 6, 7])
def test_the_error_message_is_that_of_the_sdk(version: int) -> None:
    headers = [("content-type", f"application/vnd.restate.invocation.v{version}")]
    said = error_message(headers, "StoreUnavailable: it is dead. Wait.")
    kind, length = struct.unpack_from(">II", said)
    assert (kind >> 16, length) == (0x0002, len(said) - 8)
    assert b"StoreUnavailable: it is dead. Wait." in said
