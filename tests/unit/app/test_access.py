"""The guard of the app: who gets an answer."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra [app] is not installed")
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from autotrain_llm.app.access import Guard

TOKEN, PORT = "right-token", 8420
COOKIE = {"cookie": f"autotrain-{PORT}={TOKEN}"}
HERE = f"127.0.0.1:{PORT}"


@pytest.fixture
def asked() -> Any:
    """A request to a guarded page: the response."""

    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse("the page")

    def ask(method: str = "GET", path: str = "/", names: tuple[str, ...] = (), **headers: str) -> Any:
        routes = [Route("/", page, methods=["GET", "POST"])]
        client = TestClient(Guard(Starlette(routes=routes), TOKEN, PORT, names), base_url=f"http://{HERE}")
        return client.request(method, path, headers=headers)

    return ask


def test_the_address_with_its_token_gives_a_cookie_and_a_page_that_leads_on_without_it(asked):
    answer = asked(path=f"/?token={TOKEN}")
    assert answer.status_code == 200 and "the page" not in answer.text and TOKEN not in answer.text
    assert answer.headers["set-cookie"] == f"autotrain-{PORT}={TOKEN}; HttpOnly; SameSite=Strict; Path=/"
    assert asked(**COOKIE).text == "the page"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/?token=wrong", {}),
        ("/?token=", {}),
        ("/", {"cookie": f"autotrain-{PORT}=wrong"}),
        ("/", {"cookie": f"autotrain-8421={TOKEN}"}),
        ("/", {"cookie": "autotrain-8420"}),
        ("/", {"authorization": TOKEN}),
    ],
)
def test_nothing_is_shown_without_the_token(asked, path, headers):
    answer = asked(path=path, **headers)
    assert answer.status_code == 401 and "the page" not in answer.text and "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "192.168.1.5:8420", "", "127.0.0.1.evil.example"]
)
def test_a_foreign_name_of_this_machine_is_refused_with_the_token_too(asked, host):
    assert asked(host=host, **COOKIE).status_code == 421
    assert asked(path=f"/?token={TOKEN}", host=host).status_code == 421


@pytest.mark.parametrize("host", [HERE, f"localhost:{PORT}", f"[::1]:{PORT}", "localhost"])
def test_the_names_of_loopback_are_served(asked, host):
    assert asked(host=host, **COOKIE).status_code == 200


def test_a_named_host_and_addresses_are_served_where_it_listens_on_more_than_loopback(asked):
    for host in ("gpu-1:8420", "10.0.0.7:8420"):
        assert asked(host=host, names=("gpu-1",), **COOKIE).status_code == 200
        assert asked(host=host, **COOKIE).status_code == 421
    assert asked(host="evil.example", names=("gpu-1",), **COOKIE).status_code == 421


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", f"https://{HERE}", "http://127.0.0.1:9999"])
def test_what_changes_something_must_come_from_a_page_of_the_app(asked, origin):
    headers = {} if origin is None else {"origin": origin}
    assert asked("POST", **COOKIE, **headers).status_code == 403
    assert asked("POST", **COOKIE, origin=f"http://{HERE}").text == "the page"


def test_every_answer_allows_no_foreign_script_frame_or_cache(asked):
    for answer in (asked(), asked(**COOKIE), asked(path=f"/?token={TOKEN}")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
