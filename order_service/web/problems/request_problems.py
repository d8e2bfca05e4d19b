"""The problem types of requests as such: syntax, fields, callers, this service."""

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
    """What the status says whole."""
    cause = "The HTTP status says all of it, so the type is about:blank."
    return ProblemType(status, meaning, cause, remedy, detail, members, (), headers, ABOUT_BLANK)


REQUEST_PROBLEMS: Mapping[str, ProblemType] = {
    # --- the request ------------------------------------------------------------------------------
    "malformed-request": ProblemType(
        400,
        "The request cannot be read.",
        "The body is not JSON (or not a form, where one is taken), or a header breaks its syntax.",
        "Mend the request: `detail` says where it breaks. Sending it again as it is changes "
        "nothing.",
        "The body is not valid JSON (line 1 column 12).",
    ),
    "invalid-cursor": ProblemType(
        400,
        "The cursor is not one of this list.",
        "It was changed, is of other filters or another sort order, or of an older release.",
        "Begin again without a cursor; take each next one from the page before.",
        "This cursor is not of this list: start again without one.",
    ),
    "idempotency-key-invalid": ProblemType(
        400,
        "The Idempotency-Key header breaks its syntax.",
        "A key is 1 to 255 printable ASCII characters, bare or as a quoted string.",
        "Send a UUID of your own making; keep it for the repeats of the same request.",
        'Send 1 to 255 printable ASCII characters, bare or as a string such as "8e03978e".',
    ),
    "unsupported-grant-type": ProblemType(
        400,
        "The grant_type is not one of ours.",
        "Tokens are given for e-mail address and password, or for a refresh token.",
        "Send grant_type=password or grant_type=refresh_token.",
        "Use grant_type=password or grant_type=refresh_token.",
        ("error", "error_description"),
    ),
    "validation": ProblemType(
        422,
        "Some fields are wrong.",
        "The request can be read, but a field is missing, unknown, of another type or out of its "
        "bounds, or fields do not fit together.",
        "Mend the fields that `errors` lists. What was sent is never sent back.",
        "Wrong fields: 1; see errors.",
        ("errors",),
    ),
    "request-timeout": _blank(
        408,
        "The headers or the body did not arrive in time.",
        "Send it again on a new connection.",
        "The body did not arrive within 15 s.",
    ),
    "header-fields-too-large": _blank(
        431,
        "Address and headers are too large together, or the headers too many.",
        "Send fewer of them, or shorter ones: at most `max_bytes`.",
        "Address and headers may have at most 16384 bytes and 100 headers.",
        ("max_bytes",),
    ),
    "method-not-allowed": _blank(
        405,
        "There is something at this address, but it does not take that method.",
        "Use one of the methods in the Allow header.",
        "This address does not take that method: see Allow.",
        headers=("Allow",),
    ),
    "not-acceptable": _blank(
        406,
        "The answer exists in no media type that Accept names.",
        "Leave Accept out, or name one that the documentation lists.",
        "Not Acceptable",
    ),
    "content-too-large": _blank(
        413,
        "The body, or what would be stored of it, is too large.",
        "Send less at once: at most `max_bytes`.",
        "A body may have at most 262144 bytes.",
        ("max_bytes",),
    ),
    "unsupported-media-type": _blank(
        415,
        "The body's media type, charset or encoding is not taken here.",
        "Send what Accept-Post, Accept-Patch or Accept of the answer names, in UTF-8, unencoded.",
        "Send application/json in UTF-8, without Content-Encoding.",
    ),
    "quota-exceeded": ProblemType(
        429,
        "Too many requests in this window.",
        "Requests are counted by address and by user; failed logins by account.",
        "Wait for the seconds in Retry-After. RateLimit of each answer says what is left.",
        "Too many requests: retry in 42 seconds.",
        ("violated-policies",),
        (),
        _LATER,
        QUOTA_EXCEEDED,
    ),
    # --- who asks ---------------------------------------------------------------------------------
    "authentication-required": ProblemType(
        401,
        "This address is for callers who are logged in.",
        "The request has no Authorization header with a bearer token.",
        "Get a token at POST /token/ and send `Authorization: Bearer <access_token>`.",
        "Send an access token: Authorization: Bearer <token>.",
        headers=_AUTHENTICATE,
    ),
    "token-expired": ProblemType(
        401,
        "The token's time is over.",
        "Access tokens live for minutes, so that a stolen one is soon worthless.",
        "Get a new one at POST /token/refresh/, or log in again; then repeat the request.",
        "The access token has expired: refresh it.",
        headers=_AUTHENTICATE,
    ),
    "token-invalid": ProblemType(
        401,
        "The token is not one of ours, or is revoked.",
        "Its signature, kind or audience is wrong, it was used up, or its login has ended.",
        "Log in again at POST /token/.",
        "This is not a valid access token.",
        headers=_AUTHENTICATE,
    ),
    "refresh-superseded": ProblemType(
        401,
        "This refresh token was exchanged a moment ago.",
        "Two requests used it at about the same time, as two tabs of a browser do.",
        "Use the tokens that the other request got. Nothing is revoked.",
        "The refresh token is not good any more.",
        headers=_AUTHENTICATE,
    ),
    "invalid-credentials": ProblemType(
        401,
        "E-mail address and password do not match.",
        "There is no such account, or the password is another one: which is not told.",
        "Try again. After five failures in a minute an account's logins are slowed down.",
        "E-mail address and password do not match.",
        ("error", "error_description"),
        headers=_AUTHENTICATE,
    ),
    "forbidden": ProblemType(
        403,
        "Your role does not allow this.",
        "What you asked for is yours to see or exists for all, but only `required_role` may do it.",
        "Ask somebody who has that role.",
        "Reports are for staff.",
        ("required_role",),
    ),
    # --- what operators ask for -------------------------------------------------------------------
    "rebuild-running": ProblemType(
        409,
        "A rebuild of a read model is running.",
        "One runs at a time, and what it builds must not change under it.",
        "Wait until `GET /ops/projections/` says that it has ended.",
        "A rebuild is running: wait until it ends.",
    ),
    "rollback-impossible": ProblemType(
        409,
        "The read model cannot go back now.",
        "No earlier generation is kept, another version of the code built it, or the log grows "
        "faster than it can be caught up.",
        "Read `detail`. A rebuild is always possible.",
        "order_view has no generation to go back to.",
    ),
    # --- us ---------------------------------------------------------------------------------------
    "internal-error": ProblemType(
        500,
        "A mistake of ours.",
        "Something happened that this service was not written for; nothing more is told here.",
        "Report it with `request_id`. A command may be repeated with the same Idempotency-Key.",
        "This is a mistake of ours; nothing more is known here.",
    ),
    "dependency-unavailable": _unavailable(
        "Something that this needs does not answer.",
        "A server behind this service is down, restarting or too slow. Nothing was stored.",
        "Repeat the request after Retry-After.",
        "The database does not answer in time. Retry after a moment.",
        ("dependency",),
    ),
    "projection-lagging": _unavailable(
        "The read model has not reached the write that you asked to see.",
        "You sent a Consistency-Token with `Prefer: handling=strict`, and it was not reached in "
        "the time that you would wait.",
        "Repeat the request, or leave `handling=strict` out to get what is there.",
        "Your write is not shown here yet: retry after Retry-After.",
        ("lag_ms",),
    ),
    "outcome-unknown": _unavailable(
        "Whether it was stored cannot be told now.",
        "The connection to the database was lost while it was being stored.",
        "Repeat the request with the same Idempotency-Key: it happens once. Without a key, read "
        "before you repeat.",
        "The database was lost while this was being stored.",
    ),
    "order-unreadable": _unavailable(
        "The running version of this service cannot read this order.",
        "Its last events were written by a newer version, or are damaged.",
        "Retry later; an operator has to act.",
        "An event of this order cannot be read.",
        ("partition", "position", "stream_id"),
    ),
    "overloaded": _unavailable(
        "Too much work is waiting.",
        "Queues have bounds, so that those who wait are still answered in time.",
        "Repeat the request after Retry-After.",
        "Too many commands are waiting here: try again.",
    ),
}
