"""SQL on the admin API: rows as they arrive, and never half an answer taken for a whole one."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck import ConfigError, EngineError
from coatcheck.integrations.restate.admin import Admin, rows_in
from tests.engines.process import free_port
from tests.engines.responder import responding
from tests.engines.restate import RestateServer

_VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
_ROWS = st.lists(st.dictionaries(st.text(), _VALUES | st.lists(_VALUES, max_size=3), max_size=4), max_size=6)
_CUTS = st.lists(st.integers(0, 400), max_size=12)


async def _pieces(text: str, cuts: list[int]) -> AsyncIterator[str]:
    at = 0
    for cut in [*sorted(cuts), len(text)]:
        yield text[at : max(at, cut)]
        at = max(at, cut)


def _written(rows: list[dict[str, Any]], *, escaped: bool) -> str:
    return json.dumps({"rows": rows}, separators=(",", ":"), ensure_ascii=escaped)


@given(rows=_ROWS, cuts=_CUTS, escaped=st.booleans())
async def test_rows_are_found_however_the_answer_is_cut(
    rows: list[dict[str, Any]], cuts: list[int], escaped: bool
) -> None:
    assert [row async for row in rows_in(_pieces(_written(rows, escaped=escaped), cuts))] == rows


@given(rows=_ROWS, cuts=_CUTS, data=st.data())
async def test_no_beginning_of_an_answer_is_taken_for_a_whole_one(
    rows: list[dict[str, Any]], cuts: list[int], data: st.DataObject
) -> None:
    text = _written(rows, escaped=False)
    short = text[: data.draw(st.integers(0, len(text) - 1))]
    with pytest.raises(EngineError, match="is incomplete"):
        [row async for row in rows_in(_pieces(short, cuts))]


@pytest.mark.parametrize("text", ["", "[]", '{"message":"no"}', '{"rows":[]}{"rows":[]}', '{"rows":[{}{]}'])
async def test_other_answers_are_refused(text: str) -> None:
    with pytest.raises(EngineError, match="is incomplete"):
        [row async for row in rows_in(_pieces(text, []))]


async def test_a_query_that_fails_half_way_is_an_error(restate_server: RestateServer) -> None:
    numbers = "SELECT CAST(CASE WHEN value = {} THEN 'x' ELSE '1' END AS INT) AS one FROM generate_series(1, 100000)"
    async with Admin(restate_server.admin) as admin:
        assert sum([row["one"] async for row in admin.rows(numbers.format(0))]) == 100_000
        with pytest.raises(EngineError, match="does not answer: peer closed connection"):
            [row async for row in admin.rows(numbers.format(90_000))]


async def test_a_query_that_is_refused(restate_server: RestateServer) -> None:
    async with Admin(restate_server.admin) as admin:
        with pytest.raises(EngineError, match=r"says 500: .*No field named nothing"):
            [row async for row in admin.rows("SELECT nothing FROM state")]


@pytest.mark.parametrize("url", ["127.0.0.1", "ftp://127.0.0.1"])
async def test_a_wrong_url_was_the_servers_fault(url: str) -> None:
    with pytest.raises(ConfigError, match="is not one"):
        async with Admin(url) as admin:
            [row async for row in admin.rows("SELECT id FROM sys_invocation")]


async def test_a_server_that_is_away_is_worth_another_try() -> None:
    async with Admin(f"http://127.0.0.1:{free_port()}") as admin:
        for ask in (admin.cluster, lambda: anext(admin.rows("SELECT id FROM sys_invocation"))):
            with pytest.raises(EngineError, match="does not answer") as caught:
                await ask()
            assert caught.value.retryable


@pytest.mark.parametrize(
    ("status", "retryable"), [(400, False), (401, False), (404, False), (429, True), (503, True)]
)
async def test_a_server_that_refuses_was_asked_again(status: int, *, retryable: bool) -> None:
    async with responding(status, "no") as endpoint, Admin(endpoint) as admin:
        with pytest.raises(EngineError, match=f"says {status}") as caught:
            await anext(admin.rows("SELECT id FROM sys_invocation"))
        assert caught.value.retryable is retryable
