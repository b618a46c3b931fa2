"""What the fuzzers start from: the vectors of the wire format, and what is put into them."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator

from coatcheck.codecs.zstd import Zstd
from coatcheck.format.wire import is_reference
from tests.fuzz.targets import BASE, VECTORS


def _journals() -> list[bytes]:
    return [bytes.fromhex(vector["journal"]) for vector in VECTORS]


def _objects() -> list[bytes]:
    return [bytes.fromhex(data) for vector in VECTORS for data in vector["objects"].values()]


def _texts(forms: list[bytes]) -> Iterator[bytes]:
    return (urlsafe_b64encode(form).rstrip(b"=") for form in forms)


def _frames() -> Iterator[bytes]:
    for payload in (b"a" * 1000, bytes(range(256)) * 20, BASE[:1000] + b"new" + BASE[1000:]):
        size = len(payload).to_bytes(3, "big")
        for frame in (Zstd().encode(payload), Zstd().encode_delta(payload, BASE)):
            if frame is not None:
                yield size + frame


def _bodies() -> Iterator[bytes]:
    for form in _journals():
        payload = {
            "metadata": {"encoding": b64encode(b"binary/coatcheck").decode()},
            "data": b64encode(form).decode(),
        }
        yield json.dumps({"payloads": [payload]}).encode()
    yield b'{"payloads":[{"metadata":{"encoding":"anNvbi9wbGFpbg=="},"data":"e30=","externalPayloads":[{"sizeBytes":"1"}]}]}'


def _marked() -> Iterator[bytes]:
    for text in _texts(_journals()):
        yield b'{"__coatcheck__":"' + text + b'"}'
        yield b"coatcheck:" + text
    yield b'{"__coatcheck__":[{"a":1}]}'
    yield b"coatcheck:=coatcheck:no"


def seeds(target: str) -> list[bytes]:
    """The seeds of a target, each once."""
    forms = [*_journals(), *_objects()]
    by_target = {
        "envelope": forms,
        "transforms": forms,
        "unsealed": forms,
        "reference": [*forms, *_texts([form for form in forms if is_reference(form)])],
        "decompression": [*_frames()],
        "codec_server": [*_bodies()],
        "inngest_marker": [*_marked()],
    }
    return sorted(set(by_target[target]))
