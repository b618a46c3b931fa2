import pytest

from tests.engines.requirement import unavailable


def test_without_the_server_tests_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COATCHECK_REQUIRE_ENGINES", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"^S3 could not be had: no server, sorry$"):
        unavailable("S3", "no server,\nsorry")


def test_where_servers_are_required_tests_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_REQUIRE_ENGINES", "1")
    with pytest.raises(pytest.fail.Exception, match=r"^S3 could not be had: no server$"):
        unavailable("S3", "no server")
