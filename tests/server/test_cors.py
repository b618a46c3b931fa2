"""Which pages may ask."""

import httpx
import pytest
from pydantic import ValidationError

from coatcheck.settings.serve import ServeSettings
from tests.chains import encrypted_chain
from tests.server.serving import JSON, NAMESPACE, Serving, plain, serving, to_json

UI, OTHER_UI = "https://temporal.example.com", "http://localhost:3000"
BODY = to_json([plain(b"1")])
STRANGERS = [
    "https://temporal.example.com.evil.example",
    "https://evil.example",
    "http://temporal.example.com",
    "https://temporal.example.com:8443",
    "https://TEMPORAL.example.com",
    "https://x.temporal.example.com",
    "http://localhost",
    "null",
    "*",
    "",
]


def preflight(
    server: Serving, origin: str, method: str = "POST", headers: str = "content-type"
) -> httpx.Response:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return httpx.options(f"{server.url}/decode", headers={"Origin": origin, **asked}, timeout=30)


def ask(server: Serving, origin: str) -> httpx.Response:
    return server.post("/decode", BODY, {**JSON, "X-Namespace": NAMESPACE, "Origin": origin})


def test_listed_pages_may_ask() -> None:
    with serving(encrypted_chain(), origins=[UI, OTHER_UI]) as server:
        for origin in (UI, OTHER_UI):
            allowed = preflight(
                server, origin, headers="authorization,authorization-extras,content-type,x-namespace"
            )
            assert allowed.status_code == 200
            assert allowed.headers["access-control-allow-origin"] == origin
            assert allowed.headers["access-control-allow-credentials"] == "true"
            assert sorted(allowed.headers["access-control-allow-methods"].split(", ")) == [
                "GET",
                "OPTIONS",
                "POST",
            ]
            answer = ask(server, origin)
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert "Origin" in answer.headers["vary"]
            # A page has to be able to read why it was refused.
            refused = server.post("/decode", b"?", {**JSON, "Origin": origin})
            assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (400, origin)
        assert preflight(server, UI, method="DELETE").status_code == 400
        assert preflight(server, UI, headers="x-other").status_code == 400


@pytest.mark.parametrize("origins", [[UI, OTHER_UI], []])
@pytest.mark.parametrize("origin", STRANGERS)
def test_no_other_page_may(origin: str, origins: list[str]) -> None:
    with serving(encrypted_chain(), origins=origins) as server:
        for answer in (preflight(server, origin), ask(server, origin)):
            assert "access-control-allow-origin" not in answer.headers
            assert answer.status_code == 403
        # What a browser sends without asking before has no effect either.
        simple = {"Content-Type": "text/plain", "Origin": origin}
        assert server.post(f"/{NAMESPACE}/decode", BODY, simple).status_code == 403


def test_refused_pages_are_told_in_the_log_and_not_too_often(caplog: pytest.LogCaptureFixture) -> None:
    with serving(encrypted_chain(), origins=[UI]) as server:
        for _ in range(3):
            preflight(server, OTHER_UI)
            ask(server, OTHER_UI)
        ask(server, "https://" + "x" * 5000)
        assert f"refused a request from origin {OTHER_UI!r}: serve.origins does not list it" in caplog.text
        assert caplog.text.count(OTHER_UI) == 1
        assert "x" * 201 not in caplog.text
        for number in range(150):
            ask(server, f"https://{number}.example.com")
        lines = [record for record in caplog.records if record.name == "coatcheck.server"]
        assert len(lines) <= 100
        ask(server, UI)
        assert UI not in caplog.text
        assert "coatcheck_codec_refused_origins_total 157.0" in server.get("/metrics").text


@pytest.mark.parametrize("origin", ["http://localhost:8233", "http://127.0.0.1:8233"])
def test_the_page_of_the_development_server_may_ask_where_nothing_is_set(origin: str) -> None:
    with serving(encrypted_chain()) as server:
        allowed = preflight(server, origin, headers="content-type,x-namespace")
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, origin)
        answer = ask(server, origin)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)


def test_who_is_no_page_needs_no_origin() -> None:
    with serving(encrypted_chain()) as server:
        answer = server.post("/decode", BODY)
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "https://*.example.com",
        "https://example.com/",
        "example.com",
        "https://Example.com",
        "",
        "https://",
        "ftp://example.com",
        "https://a@example.com",
        "https://example.com:x",
    ],
)
def test_settings_take_only_origins_as_browsers_send_them(origin: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        ServeSettings(origins=[origin])


def test_settings_take_origins() -> None:
    for origin in (UI, OTHER_UI, "http://127.0.0.1:1", "http://[::1]:8233"):
        assert ServeSettings(origins=[origin]).origins == [origin]
