"""Who may use the app: the browser that has opened the address with its token. Everything else is answered before any page sees it.

The token is in the printed address once; then it is a cookie that no script reads and that no other site's page can make a browser send. A
request must name this machine as its host, so that a foreign name that resolves to it (DNS rebinding) is refused, and what changes
something must come from a page of this app.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cache-control": b"no-store",
}
READING = ("GET", "HEAD")
# The address of this page has the token, which a redirect would take along: the page leads on by itself, without it.
WELCOME = '<!DOCTYPE html><html lang="en"><title>autotrain</title><link rel="icon" href="data:,"><meta http-equiv="refresh" content="0; url=/"><a href="/">Go on</a></html>'
REFUSED = (
    '<!DOCTYPE html><html lang="en"><title>autotrain</title><link rel="icon" href="data:,"><h1>This address needs its token</h1>'
    "<p>Open the whole address that <code>autotrain app</code> printed when it was started.</p></html>"
)


class Guard:
    """ASGI middleware. `names` are the hosts by which the app may be called besides the addresses of loopback."""

    def __init__(self, app: App, token: str, port: int, names: tuple[str, ...] = ()) -> None:
        self.app, self.token = app, token
        self.cookie = f"autotrain-{port}"  # cookies are shared by all ports of a host
        self.names = frozenset(name.lower() for name in ("localhost", *names))
        self.any_address = bool(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if not self._is_own(host):
            await _respond(send, 421, "This name is not one of this machine's.")
        elif self._is_token(_query(scope, "token")):
            flags = "HttpOnly; SameSite=Strict; Path=/"
            await _respond(send, 200, WELCOME, (b"set-cookie", f"{self.cookie}={self.token}; {flags}".encode()))
        elif not self._is_token(_cookie(headers.get("cookie", ""), self.cookie)):
            await _respond(send, 401, REFUSED)
        elif scope["method"] not in READING and headers.get("origin") != f"{scope.get('scheme', 'http')}://{host}":
            await _respond(send, 403, "This request does not come from a page of this app.")
        else:
            await self.app(scope, receive, lambda message: send(_protected(message)))

    def _is_own(self, host: str) -> bool:
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        name = name.strip("[]").lower()
        if name in self.names:
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return self.any_address or address.is_loopback

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.token.encode())


def _query(scope: Scope, name: str) -> str:
    values = parse_qs(scope.get("query_string", b"").decode("latin-1")).get(name, [""])
    return values[0]


def _cookie(header: str, name: str) -> str:
    try:
        cookies = SimpleCookie(header)
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


def _protected(message: Message) -> Message:
    """A response with the headers of every page, unless it has its own."""
    if message["type"] == "http.response.start":
        own = {name.lower() for name, _ in message["headers"]}
        message["headers"] = [*message["headers"], *(item for item in HEADERS.items() if item[0] not in own)]
    return message


async def _respond(send: Send, status: int, text: str, *more: tuple[bytes, bytes]) -> None:
    kind = b"text/html; charset=utf-8" if text.startswith("<") else b"text/plain; charset=utf-8"
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", kind), *HEADERS.items(), *more],
        }
    )
    await send({"type": "http.response.body", "body": text.encode()})
