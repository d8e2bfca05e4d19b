"""Admission: rate limits, concurrency, identity, CORS and errors, decided once for both ways in.

The fast path and FastAPI's routes call the same methods in the same order: count the client's
address and check for room, authenticate, count the user. So a request meets the same limits and
gets the same headers and problems whichever way it takes (tests/integration/web/test_fast_path.py).
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from order_service.accounts.api_keys import PREFIX, id_of
from order_service.accounts.known_keys import KnownKeys
from order_service.accounts.tokens import AccessTokens, TokenExpired, TokenInvalid
from order_service.settings import Settings
from order_service.web import request_metrics, response_headers
from order_service.web.client_address import Client, TrustedProxies
from order_service.web.concurrency import (
    TOO_MANY_REQUESTS,
    ActiveRequests,
    Concurrency,
    overloaded,
)
from order_service.web.connection_problems import whole_response
from order_service.web.identity import Caller, redacted_for, unauthorized
from order_service.web.json_body import check_media_type
from order_service.web.problems.problem import Problem, internal_error, of_exception
from order_service.web.rate_limits import (
    STRICT_GROUPS,
    UNLIMITED_PATHS,
    Quota,
    RateLimits,
    address_key,
    group_of,
    quota_values,
)
from order_service.web.responses import RawHeader

logger = logging.getLogger(__name__)
Endpoint = Callable[[Request], Awaitable[Response]]

# The parts in which two shed responses differ; the id is as long as every new request id.
_ID, _REMAINING = "0123456789abcdef" * 2, "{remaining}"
_SHED = overloaded(TOO_MANY_REQUESTS)


class Admission:
    """One per process."""

    def __init__(self, settings: Settings) -> None:
        self.rate_limits = RateLimits(settings)
        self.concurrency = Concurrency()
        proxies = settings.TRUSTED_PROXIES
        self.trusted_proxies = TrustedProxies(proxies) if proxies else None
        self.access_tokens = AccessTokens(settings)
        self.known_keys = KnownKeys()
        # The headers by allowed origin.
        self.cors: dict[bytes | None, response_headers.Headers] = {
            origin.encode(): response_headers.cors_headers(origin)
            for origin in settings.allowed_origins
        }
        self._preflight = CORSMiddleware(
            Response(status_code=404),  # unused: only `preflight_response` is called
            allow_origins=settings.allowed_origins,
            allow_methods=response_headers.CORS_METHODS,
            allow_headers=response_headers.CORS_ALLOWED_HEADERS,
        )
        # By quota, allowed origin and scheme: a handful of quotas, and the origins of the settings.
        self._shed_responses: dict[tuple[str, bytes | None, str], bytes] = {}

    # --- the request ------------------------------------------------------------------------------

    def count_address(self, quotas: list[Quota], group: str, host: str | None) -> None:
        """Counts the request for its client's address; adds the limit's state to `quotas`. Raises
        Problem 429."""
        self.rate_limits.count(quotas, f"{group}-address", address_key(host))

    def check_room(self, group: str) -> ActiveRequests:
        """The group's active requests, which have room for one more. Raises Problem 503."""
        active = self.concurrency.of(group)
        active.check()
        return active

    def authenticate(self, token: str | None) -> Caller:
        """Raises Problem 401."""
        if token is None:
            detail = "Send an access token: Authorization: Bearer <token>."
            raise Problem(401, "authentication-required", detail, {"WWW-Authenticate": "Bearer"})
        try:
            verified = self.access_tokens.verify(token)
        except TokenExpired:
            detail = "The access token has expired: refresh it."
            raise unauthorized("token-expired", detail) from None
        except TokenInvalid:
            detail = "This is not a valid access token."
            raise unauthorized("token-invalid", detail) from None
        return Caller(verified.user_id, verified.role)

    def key_caller(self, key: str) -> Caller | None:
        """The caller of an API key that this process has verified a moment ago; None for any
        other text. Such a key is counted in place of its address: it has a limit of its own, and a
        shop's backend sends everything from one address."""
        grant = self.known_keys.get(key)
        return None if grant is None else Caller(grant.key_id, "key", grant)

    async def identify(self, token: str | None, host: str | None) -> Caller:
        """Like `authenticate`, also for API keys that are not known yet. `host`: the client's
        address. Raises Problem 401, 429, and errors of the database."""
        if token is None or not token.startswith(PREFIX):
            return self.authenticate(token)
        return self.key_caller(token) or await self._verify_key(token, host)

    async def _verify_key(self, key: str, host: str | None) -> Caller:
        """A wrong key is answered alike whether its id exists or not. Wrong keys of one id are
        limited by address, as failed logins are: the holder elsewhere is not locked out. A mistyped
        key needs no query, so the address's limit is enough."""
        key_id = id_of(key)
        if key_id is None:
            raise _wrong_key()
        failed_keys, attempts = self.rate_limits.failed_logins, f"{key_id} {address_key(host)}"
        failed_keys.check(attempts)
        try:
            grant = await self.known_keys.verify(key)
        except TokenExpired:
            detail = "The API key has expired, or was replaced: send the new one."
            raise unauthorized("token-expired", detail) from None
        except TokenInvalid:
            failed_keys.failed(attempts)
            raise _wrong_key() from None
        return Caller(grant.key_id, "key", grant)

    def count_user(self, quotas: list[Quota], group: str, caller: Caller) -> None:
        """Counts the request for its user or API key; adds the limit's state to `quotas`. Raises
        Problem 429."""
        if caller.grant is None:
            self.rate_limits.count(quotas, f"{group}-user", caller.user_id.hex)
        else:
            rate = caller.grant.rate_limit
            self.rate_limits.count(quotas, f"{group}-key", caller.user_id.hex, rate)

    # --- the response -----------------------------------------------------------------------------

    def problem_of(self, error: Exception, caller: Caller | None) -> Problem:
        """The problem that answers `error`, with what this caller may know. An unexpected error is
        logged and becomes a 500 without its text."""
        problem = of_exception(redacted_for(caller, error))
        if problem is None:
            logger.error("unhandled", exc_info=error)
            problem = internal_error()
        return problem

    def header_lines(
        self, request_id: str, quotas: tuple[str, str], origin: bytes | None, scheme: str
    ) -> str:
        """The headers that every response carries, as lines on the wire: for paths outside
        documentation and desk. `quotas`: from `quota_values`."""
        policy, remaining = quotas
        return (
            f"{response_headers.safe_lines(request_id)}"
            f"ratelimit-policy: {policy}\r\nratelimit: {remaining}\r\n"
            f"{self.cors.get(origin, response_headers.NO_CORS).lines}"
            f"{response_headers.STRICT_TRANSPORT_LINE if scheme == 'https' else ''}"
        )

    def headers(
        self, scope: Scope, request_id: str, quotas: Sequence[Quota], origin: bytes | None
    ) -> list[RawHeader]:
        """The headers that every response carries, for ASGI. A request that no limit has counted
        gets the state of its address's limit."""
        if not quotas:
            host = scope["client"][0] if scope["client"] else None
            quotas = (self.rate_limits.peek(scope["method"], scope["path"], host),)
        policy, remaining = quota_values(quotas)
        found = response_headers.safe_headers(request_id, scope["path"])
        found += (
            (b"ratelimit-policy", policy.encode()),
            (b"ratelimit", remaining.encode()),
            *self.cors.get(origin, response_headers.NO_CORS).raw,
        )
        if scope["scheme"] == "https":
            found.append(response_headers.STRICT_TRANSPORT)
        return found

    def preflight(self, scope: Scope) -> Response | None:
        """The response to a CORS preflight; None for any other request."""
        if scope["method"] != "OPTIONS":
            return None
        headers = Headers(scope=scope)
        if "origin" not in headers or "access-control-request-method" not in headers:
            return None
        return self._preflight.preflight_response(headers)

    # --- no room ----------------------------------------------------------------------------------

    def shed(
        self, method: str, path: str, client: Client, fields: Iterable[RawHeader]
    ) -> bytes | None:
        """The whole 503 response if there is no room for such a request, decided by its head alone;
        None if there is room."""
        if path in UNLIMITED_PATHS or self.concurrency.has_room(group_of(method, path)):
            return None
        origin = next((value for name, value in fields if name == b"origin"), None)
        allowed = origin if origin in self.cors else None
        quota = self.rate_limits.peek(method, path, client.host)
        key = quota.name, allowed, client.scheme
        found = self._shed_responses.get(key)
        if found is None:  # to build it each time would cost as much as all else in a refusal
            lines = self.header_lines(_ID, (quota.policy, _REMAINING), allowed, client.scheme)
            found = self._shed_responses[key] = whole_response(_SHED, _ID, lines)
        request_metrics.refused(method, request_metrics.SHED, _SHED)
        request_id = response_headers.new_request_id()
        return found.replace(_ID.encode(), request_id.encode()).replace(
            _REMAINING.encode(), quota.state.encode()
        )


def _wrong_key() -> Problem:
    return unauthorized("token-invalid", "This is not a valid API key.")


# --- FastAPI --------------------------------------------------------------------------------------


async def admit(request: Request) -> None:
    """The dependency of every route: checks the media type, counts the address and checks for room.

    The request is active from here until its response begins (`middleware.Edge`).
    """
    check_media_type(request)
    scope = request.scope
    state: dict[str, Any] = scope["state"]
    group = state["group"] = group_of(scope["method"], scope["path"])
    if scope["path"] in UNLIMITED_PATHS:
        return
    admission = admission_of(request)
    caller = None if group in STRICT_GROUPS else _key_caller(request, admission)
    if caller is None:
        host = request.client.host if request.client else None
        admission.count_address(state["quotas"], group, host)
    active = state["active"] = admission.check_room(group)
    active.enter()
    if caller is not None:
        admission.count_user(state["quotas"], group, caller)
        state["counted"] = caller


def _key_caller(request: Request, admission: Admission) -> Caller | None:
    scheme, key = get_authorization_scheme_param(request.headers.get("authorization"))
    return admission.key_caller(key) if scheme.lower() == "bearer" else None


def admitted(endpoint: Endpoint) -> Endpoint:
    """`endpoint` behind `admit`, for `add_route`, which takes no dependencies."""

    async def admitting(request: Request) -> Response:
        await admit(request)
        return await endpoint(request)

    return admitting


def admission_of(request: Request) -> Admission:
    found = request.app.state.admission
    assert isinstance(found, Admission)
    return found
