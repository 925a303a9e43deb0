from __future__ import annotations

from typing import Any

import pytest
from support.odd_values import ODD, only_ours
from support.serving import CHAT, KEY, ask, serving

import cometstream.catalog
from cometstream import (
    CometSession,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    UsageError,
    fan_out,
)
from cometstream.catalog import CatalogModel, catalog_url, read_balance, read_catalog
from cometstream.testing import MODELS, Reply, SimulatedServer

USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
PRICED = Reply.text("Hello", usage=USAGE)  # of gpt-5.4: 2.5 and 15 dollars, less a fifth
COST = (1000 * 2.0 + 100 * 12.0) / 1e6


def price(**pricing: Any) -> Any:
    return CatalogModel({"id": "m", "pricing": pricing}).price


@pytest.mark.parametrize(
    ("pricing", "expected"),
    [
        ({"currency": "USD / M Tokens", "input": 0.416, "output": 0.832, "per_request": None}, (0.416, 0.832)),
        ({"input": 0.3, "output": 1.2, "ratio": 0.8}, (0.24, 0.96)),
        ({"input": 12, "output": 60, "ratio": 1}, (12, 60)),
        ({"input": 5, "output": 25, "ratio": None}, (5, 25)),
        ({"input": 0, "output": 2}, (0, 2)),
        ({"currency": "USD / Second", "input": 1, "output": 1}, None),
        ({"currency": "CNY / M Tokens", "input": 1, "output": 1}, None),
        ({"input": None, "output": None, "per_request": 0.04}, None),
        ({"input": 1}, None),
        ({"input": 0, "output": 0, "per_second": 0.2}, None),
        ({"input": -1, "output": 2}, None),
        ({"input": "1", "output": 2}, None),
        ({"input": True, "output": 2}, None),
        ({}, None),
    ],
)
def test_a_price_is_what_tokens_cost_and_none_where_something_else_is_priced(
    pricing: Any, expected: tuple[float, float] | None
) -> None:
    assert price(**pricing) == expected


def test_a_model_of_the_catalogue_tells_what_it_has_and_keeps_the_rest() -> None:
    model = CatalogModel(
        {
            "id": "m",
            "provider": "p",
            "context_length": "128000",
            "endpoints": [{"path": "/v1/chat/completions"}, "POST /v1/messages", "/v1/messages"],
            "features": ["text-to-text"],
        }
    )
    assert (model.id, model.provider, model.context_length) == ("m", "p", 128_000)
    assert model.endpoints == ["/v1/chat/completions", "/v1/messages"]
    assert model.features == ["text-to-text"]
    deep: Any = "/v1/deep"
    for _ in range(2000):
        deep = [deep]
    empty = CatalogModel({"pricing": 5, "endpoints": deep})
    assert (empty.id, empty.provider, empty.context_length, empty.endpoints, empty.price) == ("", None, None, [], None)


@pytest.mark.parametrize("document", [None, 5, [], {}, {"data": {}}, {"data": [{"name": "x"}, 5]}])
def test_a_document_that_is_no_catalogue_is_told_of(document: Any) -> None:
    with pytest.raises(ProtocolError, match="the answer of here is not a catalogue of models"):
        read_catalog(document, "here")


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.cometapi.com/v1", "https://api.cometapi.com/api/models"),
        ("https://proxy.example/comet/v1", "https://proxy.example/comet/api/models"),
        ("http://localhost:8080", "http://localhost:8080/api/models"),
    ],
)
def test_the_catalogue_is_beside_the_version(base_url: str, url: str) -> None:
    assert catalog_url(base_url) == url


async def test_the_catalogue_is_read_without_the_key_and_kept_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(cometstream.catalog, "monotonic", lambda: now)
    async with serving(headers={"X-Mine": "1"}) as (server, session):
        catalog = await session.catalog()
        assert [*catalog][: len(MODELS)] == list(MODELS)
        assert catalog["gpt-5.4"].price == (2.0, 12.0)
        assert catalog["comet-image-1"].price is None
        assert repr(catalog) == f"<Catalog of {len(MODELS) + 1} models from {catalog.source}>"
        now += 23 * 3600
        assert await session.catalog() is catalog
        assert len(server.requests) == 1
        assert await session.catalog(refresh=True) is not catalog
        now += 24 * 3600
        await session.catalog()
    assert [request.path for request in server.requests] == ["/api/models"] * 3
    assert not any("Authorization" in request.headers for request in server.requests)
    assert all(request.headers["X-Mine"] == "1" for request in server.requests)


async def test_answers_have_a_cost_once_the_catalogue_was_read() -> None:
    async with serving(PRICED) as (server, session):
        async with session.stream(**CHAT) as stream:
            completion = await stream.until_done()
            assert (completion.cost, completion.cost_source) == (None, "unknown")
            assert (stream.metrics.cost, stream.metrics.cost_source) == (None, "unknown")
        await session.catalog()
        assert (completion.cost, completion.cost_source) == (COST, "catalog")
        server.script(PRICED)
        async with session.stream(**CHAT) as stream:
            completion = await stream.until_done()
        assert (stream.metrics.cost, stream.metrics.cost_source) == (completion.cost, "catalog") == (COST, "catalog")
        assert (await session.complete(**CHAT)).cost_source == "catalog"


async def test_what_the_server_reports_comes_before_the_catalogue() -> None:
    async with serving() as (server, session):
        await session.catalog()
        server.script(Reply.text("Hello", usage={**USAGE, "cost": 0.5}))
        completion = await ask(session)
    assert (completion.cost, completion.cost_source) == (0.5, "reported")


async def test_a_cut_answer_has_the_cost_of_the_usage_that_is_known() -> None:
    async with serving(retry=None) as (server, session):
        await session.catalog()
        server.script(Reply.text("Hello", usage=USAGE, finish_reason=None, done=False).cut())
        async with session.stream(**CHAT, on_incomplete="return") as stream:
            await stream.until_done()
    assert (stream.outcome, stream.metrics.cost) == ("truncated", COST)


@pytest.mark.parametrize(
    ("price", "cost"), [(None, 2 * COST), ({"gpt-5.4": (1.0, 1.0)}, 2 * 1100 / 1e6), ({"other": (1.0, 1.0)}, 2 * COST)]
)
async def test_a_batch_adds_up_by_the_catalogue_where_the_caller_has_no_price(price: Any, cost: float) -> None:
    async with serving() as (server, session):
        await session.catalog()
        server.script(PRICED, PRICED)
        async with fan_out(session, [dict(CHAT)] * 2, price=price) as batch:
            assert [result.outcome async for result in batch] == ["complete"] * 2
        assert batch.progress.cost == pytest.approx(cost)


async def test_the_balance_is_what_is_left_and_what_was_spent() -> None:
    async with serving() as (server, session):
        assert await session.balance() == (8.75, 1.25)
    paths = ["/v1/dashboard/billing/subscription", "/v1/dashboard/billing/usage"]
    assert [request.path for request in server.requests] == paths


@pytest.mark.parametrize(
    ("limit", "spent", "balance"),
    [(10.0, 125, (8.75, 1.25)), (100_000_000, 5, (None, 0.05)), (1, 300, (-2, 3)), (0.3, 10, (0.2, 0.1))],
)
def test_a_balance_is_in_dollars(limit: float, spent: float, balance: tuple[float | None, float]) -> None:
    assert read_balance({"hard_limit_usd": limit}, {"total_usage": spent}, "here") == balance


@pytest.mark.parametrize("document", [None, [], {}, {"hard_limit_usd": "10"}, {"hard_limit_usd": True}])
def test_a_document_that_is_no_balance_is_told_of(document: Any) -> None:
    with pytest.raises(ProtocolError, match="the answer of here is not a balance"):
        read_balance(document, {"total_usage": 1}, "here")


async def test_errors_of_these_routes_are_typed() -> None:
    refused = {"error": {"message": "no such route", "code": 404}}
    async with serving(Reply.json(refused), Reply.error(404), retry=None) as (_, session):
        with pytest.raises(NotFoundError, match="no such route"):
            await session.catalog()
        with pytest.raises(NotFoundError):
            await session.balance()
        no_flag: Any = "yes"
        with pytest.raises(ConfigurationError, match="refresh must be True or False; got 'yes'"):
            await session.catalog(refresh=no_flag)
    for call in (session.catalog, session.balance):
        with pytest.raises(UsageError, match="closed"):
            await call()


async def test_the_calls_take_or_refuse_each_odd_value() -> None:
    async with serving() as (_, session):
        for value in ODD:
            for name in ("refresh", "timeouts", "retry"):
                odd: Any = {name: value}
                with only_ours():
                    await session.catalog(**odd)
                if name != "refresh":
                    with only_ours():
                        await session.balance(**odd)


@pytest.mark.parametrize("status", [200, 301, 403, 404])
@pytest.mark.parametrize("without_version", [True, False])
async def test_a_page_in_place_of_an_answer_says_what_it_may_be(status: int, without_version: bool) -> None:
    async with SimulatedServer(api_key=KEY) as server:
        server.always(Reply.page(status))
        base_url = server.base_url.removesuffix("/v1") if without_version else server.base_url
        async with CometSession(api_key=KEY, base_url=base_url, retry=None) as session:
            told = []
            for call in (ask(session), session.complete(**CHAT), session.models()):
                with pytest.raises(Exception) as caught:
                    await call
                told.append(str(caught.value))
    for message in told:
        assert ("does not end with /v1, as CometAPI's does" in message) == (without_version and status != 403)
        assert ("a firewall before it may have refused" in message) == (status == 403)
        assert ("The path may be wrong" in message) == (status == 301 and not without_version)


async def test_the_simulated_gateway_answers_a_wrong_path_with_its_web_site() -> None:
    async with SimulatedServer(api_key=KEY) as server:
        async with CometSession(api_key=KEY, base_url=server.base_url.removesuffix("/v1"), retry=None) as session:
            with pytest.raises(ProtocolError, match="does not end with /v1"):
                await session.models()
            with pytest.raises(Exception, match=r"301.*redirect to /.*does not end with /v1"):
                await ask(session)


async def test_the_gateways_own_request_id_comes_before_all_others() -> None:
    headers = {"x-request-id": "of-a-proxy", "X-Cometapi-Request-Id": "comet-7"}
    async with serving(PRICED.with_headers(headers), Reply.error(403).with_headers(headers)) as (_, session):
        async with session.stream(**CHAT) as stream:
            await stream.until_done()
        assert stream.metrics.request_id == "comet-7"
        with pytest.raises(PermissionDeniedError) as caught:
            await ask(session)
        assert caught.value.request_id == "comet-7"
