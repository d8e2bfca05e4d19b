"""Problem types of any request: syntax, fields, callers, operators, this service."""

from collections.abc import Mapping

from order_service.web.problems.problem_type import ABOUT_BLANK, QUOTA_EXCEEDED, ProblemType

_AUTHENTICATE = ("WWW-Authenticate",)
_LATER = ("Retry-After",)


def _unavailable(
    meaning: str, cause: str, remedy: str, detail: str, may_have: tuple[str, ...] = ()
) -> ProblemType:
    return ProblemType(503, meaning, cause, remedy, detail, (), may_have, _LATER)


def _blank(
    status: int,
    meaning: str,
    remedy: str,
    detail: str,
    members: tuple[str, ...] = (),
    headers: tuple[str, ...] = (),
) -> ProblemType:
    """A type without a meaning of its own beside its HTTP status."""
    cause = "The HTTP status says everything, so the type is about:blank."
    return ProblemType(status, meaning, cause, remedy, detail, members, (), headers, ABOUT_BLANK)


REQUEST_PROBLEMS: Mapping[str, ProblemType] = {
    # --- the request ------------------------------------------------------------------------------
    "malformed-request": ProblemType(
        400,
        "The request cannot be read.",
        "The body is not JSON (or not a form, where forms are accepted), or a header has wrong "
        "syntax.",
        "Correct the request: `detail` says where it is wrong. A repeat of the same request fails "
        "again.",
        "The body is not valid JSON (line 1 column 12).",
    ),
    "invalid-cursor": ProblemType(
        400,
        "The cursor does not belong to this list.",
        "It was altered, belongs to other filters or another sort order, or comes from an older "
        "release.",
        "Start again without a cursor; take each cursor from the page before.",
        "The cursor comes from another list or other filters: start again without one.",
    ),
    "idempotency-key-invalid": ProblemType(
        400,
        "The Idempotency-Key header has wrong syntax.",
        "A key is 1 to 255 printable ASCII characters, bare or as a quoted string.",
        "Send a UUID that you generate; use the same one to repeat the same request.",
        'Send 1 to 255 printable ASCII characters, bare or as a string such as "8e03978e".',
    ),
    "unsupported-grant-type": ProblemType(
        400,
        "The service does not support this grant_type.",
        "It issues tokens for e-mail address and password, or for a refresh token.",
        "Send grant_type=password or grant_type=refresh_token.",
        "Use grant_type=password or grant_type=refresh_token.",
        ("error", "error_description"),
    ),
    "validation": ProblemType(
        422,
        "Some fields are wrong.",
        "The request can be read, but a field is missing, unknown, out of bounds or of the wrong "
        "type, or fields contradict each other.",
        "Correct the fields that `errors` lists. The response never repeats the values sent.",
        "Wrong fields: 1; see errors.",
        ("errors",),
    ),
    "request-timeout": _blank(
        408,
        "The headers or the body did not arrive in time.",
        "Repeat the request on a new connection.",
        "The body did not arrive within 15 s.",
    ),
    "header-fields-too-large": _blank(
        431,
        "Address and headers together are too large, or there are too many headers.",
        "Send fewer or shorter headers: at most `max_bytes`.",
        "Address and headers may have at most 16384 bytes and 100 headers.",
        ("max_bytes",),
    ),
    "method-not-allowed": _blank(
        405,
        "This path exists, but does not support that method.",
        "Use one of the methods in the Allow header.",
        "This path does not support that method: see Allow.",
        headers=("Allow",),
    ),
    "not-acceptable": _blank(
        406,
        "The response is not available in any media type that Accept names.",
        "Omit Accept, or name a media type that the documentation lists.",
        "Not Acceptable",
    ),
    "content-too-large": _blank(
        413,
        "The body, or the event that it would become, is too large.",
        "Send less at a time: at most `max_bytes`.",
        "A body may have at most 262144 bytes.",
        ("max_bytes",),
    ),
    "unsupported-media-type": _blank(
        415,
        "This path does not accept the body's media type, charset or encoding.",
        "Send a type that Accept-Post, Accept-Patch or Accept of the response names, in UTF-8, "
        "without Content-Encoding.",
        "Send application/json in UTF-8, without Content-Encoding.",
    ),
    "quota-exceeded": ProblemType(
        429,
        "Too many requests in this window.",
        "Requests are counted by address and by user or API key, failed logins by account.",
        "Wait the seconds in Retry-After. RateLimit in each response says how many are left.",
        "Too many requests: retry in 42 seconds.",
        ("violated-policies",),
        (),
        _LATER,
        QUOTA_EXCEEDED,
    ),
    # --- the caller -------------------------------------------------------------------------------
    "authentication-required": ProblemType(
        401,
        "This path requires a login.",
        "The request has no Authorization header with a bearer token.",
        "Get a token with POST /token/ and send `Authorization: Bearer <access_token>`.",
        "Send an access token: Authorization: Bearer <token>.",
        headers=_AUTHENTICATE,
    ),
    "token-expired": ProblemType(
        401,
        "The token has expired.",
        "Access tokens live for minutes, so that a stolen one is soon worthless.",
        "Get a new one with POST /token/refresh/, or log in again; then repeat the request.",
        "The access token has expired: refresh it.",
        headers=_AUTHENTICATE,
    ),
    "token-invalid": ProblemType(
        401,
        "The token is not valid, or is revoked.",
        "Its signature, kind or audience is wrong, it was used before, or its login has ended; an "
        "API key is mistyped, unknown or revoked.",
        "Log in again with POST /token/. Ask an administrator for another API key.",
        "This is not a valid access token.",
        headers=_AUTHENTICATE,
    ),
    "refresh-superseded": ProblemType(
        401,
        "This refresh token was used a moment ago.",
        "Two requests used it at about the same time, as two tabs of a browser do.",
        "Use the tokens that the other request got. Nothing is revoked.",
        "The refresh token is no longer valid.",
        headers=_AUTHENTICATE,
    ),
    "invalid-credentials": ProblemType(
        401,
        "E-mail address and password do not match.",
        "There is no such account, or the password is wrong. The response does not say which.",
        "Try again. After five failures in a minute the account has to wait before each login.",
        "E-mail address and password do not match.",
        ("error", "error_description"),
        headers=_AUTHENTICATE,
    ),
    "forbidden": ProblemType(
        403,
        "Your role does not allow this.",
        "Only the role `required_role` may do this.",
        "Ask a person with that role.",
        "Reports are for staff.",
        ("required_role",),
    ),
    "insufficient-scope": ProblemType(
        403,
        "The API key lacks a scope.",
        "Only keys with the scope `required_scope` may do this.",
        "Ask an administrator for a key with that scope: a key's scopes never grow.",
        "This API key lacks the scope payments:write.",
        ("required_scope",),
    ),
    "too-many-api-keys": ProblemType(
        409,
        "There are too many API keys.",
        "Their number is limited; expired keys count until they are revoked.",
        "Revoke keys that are not in use: `last_used_at` in GET /api-keys/ says which.",
        "There are 1000 API keys: revoke one that is not in use.",
    ),
    # --- operators --------------------------------------------------------------------------------
    "rebuild-running": ProblemType(
        409,
        "A rebuild of a read model is running.",
        "One rebuild runs at a time, and its read models must not change meanwhile.",
        "Wait until `GET /ops/projections/` shows that it has ended.",
        "A rebuild is running: wait until it ends.",
    ),
    "rollback-impossible": ProblemType(
        409,
        "The read model cannot go back to its previous generation now.",
        "There is no previous generation, another version of the code built it, or the log grows "
        "faster than it can catch up.",
        "Read `detail`. A rebuild is always possible.",
        "order_view has no generation to go back to.",
    ),
    # --- this service -----------------------------------------------------------------------------
    "internal-error": ProblemType(
        500,
        "This service has a bug.",
        "An unexpected error occurred. The log has its details, the response does not.",
        "Report it with `request_id`. You can repeat a command with the same Idempotency-Key.",
        "This service has a bug; the response has no further details.",
    ),
    "dependency-unavailable": _unavailable(
        "A server that this request needs does not answer.",
        "A server behind this service is down, restarting or too slow. Nothing was stored.",
        "Repeat the request after Retry-After.",
        "The database does not answer in time. Retry after a moment.",
        ("dependency",),
    ),
    "projection-lagging": _unavailable(
        "The read model does not show your write yet.",
        "You sent a Consistency-Token with `Prefer: handling=strict`, and the read model did not "
        "reach that write within the wait that you allowed.",
        "Repeat the request, or omit `handling=strict` to get the current state.",
        "Your write is not shown here yet: retry after Retry-After.",
        ("lag_ms",),
    ),
    "outcome-unknown": _unavailable(
        "It is unknown whether the change was stored.",
        "The connection to the database broke while the change was being stored.",
        "Repeat the request with the same Idempotency-Key: the change happens once. Without a key, "
        "read the order before you repeat.",
        "The connection to the database broke while the change was being stored.",
    ),
    "order-unreadable": _unavailable(
        "The running version of this service cannot read this order.",
        "A newer version wrote its last events, or they are damaged.",
        "Retry later; an operator has to act.",
        "An event of this order cannot be read.",
        ("partition", "position", "stream_id"),
    ),
    "overloaded": _unavailable(
        "The service has too much work.",
        "Its queues are bounded, so that every waiting request is answered in time.",
        "Repeat the request after Retry-After.",
        "Too many commands are waiting here: try again.",
    ),
}
