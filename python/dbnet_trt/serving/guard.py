# SPDX-License-Identifier: Apache-2.0
"""What every request passes: key, limits, deadline, safe headers, one line in the log."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import logging
import time
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .config import RETRY_AFTER_S, ServerConfig
from .metrics import Metrics

logger = logging.getLogger("dbnet_trt.serving")

OPEN_PATHS = frozenset(
    (
        "/",
        "/docs",
        "/openapi.json",
        "/health/live",
        "/health/ready",
        "/v2/health/live",
        "/v2/health/ready",
    )
)
"""Paths that need no key: the page, the reference and what an orchestrator asks."""

HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
"""Headers of every answer that does not set its own."""


def problem(
    path: str, status: int, message: str, headers: dict[str, str] | None = None
) -> Response:
    """Make the answer for an error, in the form that clients of the path expect."""
    field = "error" if path.startswith("/v2") else "detail"
    return Response(json.dumps({field: message}), status, headers, "application/json")


class Guard:
    """ASGI middleware around the routes."""

    def __init__(
        self, app: ASGIApp, config: ServerConfig, keys: Sequence[str], metrics: Metrics
    ) -> None:
        self._app, self._config, self._metrics = app, config, metrics
        self._keys = [key.encode() for key in keys]
        self._num_active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        exchange = _Exchange(scope, receive, send, self._config.max_body_bytes)
        try:
            await self._pass_on(exchange)
        finally:
            self._report(exchange, time.perf_counter() - start)

    async def _pass_on(self, exchange: _Exchange) -> None:
        is_counted = False
        try:
            self._check(exchange)
            if exchange.scope["method"] == "POST":
                self._admit()
                is_counted = True
            async with asyncio.timeout(self._config.deadline_s):
                await self._app(exchange.scope, exchange.receive, exchange.send)
        except HTTPException as error:
            await exchange.refuse(error.status_code, error.detail, error.headers)
        except TimeoutError:
            limit = f"{self._config.deadline_s:g} s"
            if exchange.is_received:
                await exchange.refuse(504, f"no result within {limit}; try again later")
            else:
                await exchange.refuse(408, f"the body did not arrive within {limit}")
        except ClientDisconnect:  # or what it sent is not HTTP, which the protocol has answered
            await exchange.refuse(400, "the connection ended before the body did")
        except Exception:
            logger.exception("a request failed")
            await exchange.refuse(500, "the server failed; its log says why")
        finally:
            if is_counted:
                self._num_active -= 1
                self._metrics.active.dec()

    def _check(self, exchange: _Exchange) -> None:
        """Raise HTTPException for a request without a key, or with a body that is not taken."""
        headers = exchange.headers
        if self._keys and exchange.scope["path"] not in OPEN_PATHS and not self._has_key(headers):
            raise HTTPException(
                401,
                "this server needs a key: send it as X-API-Key, as Authorization: Bearer KEY, or "
                "as the password of basic authentication",
                {"WWW-Authenticate": "Bearer"},
            )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._config.max_body_bytes:
            raise exchange.too_large()
        encoding = headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise HTTPException(415, "expected a body without Content-Encoding; send it as it is")

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        encoded = (headers.get("x-api-key") or "").encode("latin-1")
        if not encoded and scheme.lower() == "bearer":
            encoded = credentials.encode("latin-1")
        elif not encoded and scheme.lower() == "basic":
            encoded = _password(credentials)
        # All are compared, each in constant time.
        return any([hmac.compare_digest(encoded, key) for key in self._keys])  # noqa: C419

    def _admit(self) -> None:
        """Count a request that takes a place, or raise HTTPException if there is none."""
        if self._num_active >= self._config.max_requests:
            raise HTTPException(
                503,
                f"the server is busy with {self._num_active} requests; try again later",
                {"Retry-After": str(RETRY_AFTER_S)},
            )
        self._num_active += 1
        self._metrics.active.inc()

    def _report(self, exchange: _Exchange, seconds: float) -> None:
        scope = exchange.scope
        route = getattr(scope.get("route"), "path", "other")
        status = exchange.status
        self._metrics.requests.labels(route, str(status)).inc()
        path = scope.get("raw_path", b"").decode("ascii", "backslashreplace")[:200]
        client = scope["client"][0] if scope.get("client") else "-"
        logger.info(
            "%s %s %s %s %.1f ms %d bytes",
            client,
            scope["method"],
            path,
            status,
            1000 * seconds,
            exchange.num_bytes,
        )


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_bytes: int) -> None:
        self.scope = scope
        self.headers = Headers(scope=scope)
        self.status = 0
        self.num_bytes = 0
        self.is_received = False
        self._receive, self._send, self._max_bytes = receive, send, max_bytes

    async def receive(self) -> Message:
        """Receive a part of the body.

        Raises:
            HTTPException: 413, it is larger than the limit.
        """
        message = await self._receive()
        if message["type"] == "http.request":
            self.num_bytes += len(message.get("body", b""))
            self.is_received = not message.get("more_body", False)
            if self.num_bytes > self._max_bytes:
                raise self.too_large()
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = dict(message["headers"])
            missing = [each for each in HEADERS.items() if each[0] not in own]
            message = {**message, "headers": [*message["headers"], *missing]}
        await self._send(message)

    async def refuse(self, status: int, message: str, headers: object = None) -> None:
        """Answer with an error, unless an answer has begun."""
        if self.status == 0:
            given = dict(headers) if headers else None  # type: ignore[call-overload]
            response = problem(self.scope["path"], status, message, given)
            await response(self.scope, self._receive, self.send)

    def too_large(self) -> HTTPException:
        """Make the error for a body over the limit."""
        return HTTPException(413, f"expected a body of at most {self._max_bytes} bytes")


def _password(credentials: str) -> bytes:
    """Return the password of basic authentication; b"" if there is none."""
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
