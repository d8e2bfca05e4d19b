# ruff: noqa: E501  # rows of data
"""What queries are asked by: ids, parameters, cursors, tokens of writes, conditions, tickets."""

import base64

from tests.support.hostile.case import CANARY, OWNER, STAFF, Case, Text, asked, gets

_NOBODY = ("X-Nobody", "x")
_LIST, _MINE = "/orders/", "/orders/user/{USER}/"
_TOKEN = base64.urlsafe_b64encode(bytes(27)).decode()
_WIDE = base64.urlsafe_b64encode(b"\xff" * 27).decode()

_IDS = gets(
    404,
    *("/orders/%00/", "/orders/%ff%fe/", "/orders/%ed%a0%80/", "/orders/%0d%0aX:%20y/"),
    *("/orders/..%2f..%2fetc%2fpasswd/", "/orders/%2e%2e/", "/orders/.../", "//", "///"),
    *("/orders/' OR 1=1 --/".replace(" ", "%20"), "/orders/%27;DROP%20TABLE%20events;--/"),
    *("/orders/$%7Bjndi:ldap:%2f%2fx%7D/", "/orders/%7B%7B7*7%7D%7D/", "/orders/%3Cscript%3E/"),
    *("/orders/{ORDER}%00/", "/orders/{ORDER}%20/", "/orders/%20{ORDER}/", "/orders/{ORDER};a=b/"),
    *("/orders/%7B{ORDER}%7D/", "/orders/urn:uuid:{ORDER}/", "/orders/{ORDER}0/"),
    *("/orders/00000000-0000-0000-0000-000000000000/", "/orders/0/", "/orders/-1/", "/orders/1/"),
    *("/orders/" + "9" * 400 + "/", "/orders/A-0-0/", "/orders/A-1-/", "/orders/A--1-1/"),
    *("/orders/A-9223372036854775808-0/", "/orders/A-" + "9" * 19 + "-9/", "/orders/A-1e3-0/"),
    *("/orders/A-%D9%A1-1/", "/orders/%EF%BC%A1-1-8/", "/orders/" + "a" * 9_000 + "/"),
    *("/%2e%2e/%2e%2e/etc/passwd", "/..;/orders/", "/orders/{ORDER}/%2e%2e/", "/%c0%af"),
    *("/orders/{ORDER}/events", "/orders/{ORDER}/nothing/", "/docs/../orders/", "/docs/%2e%2e/"),
    *("/problems/%00", "/problems/..%2f", "/problems/" + CANARY, "/favicon.ico", "/.git/config"),
    *("/.env", "/metrics", "/admin/", "/actuator/env", "/server-status", "/phpinfo.php", "/debug"),
)
_IDS = [case for case in _IDS if b"/events " not in case.sent]

_PARAMETERS = gets(
    422,
    *(f"{_LIST}?x=1", f"{_LIST}?{'x' * 9_000}=1", f"{_LIST}?limit=1&limit=2", f"{_LIST}?=1", f"{_LIST}?%00=1"),
    *(f"{_LIST}?limit={n}" for n in ("0", "-1", "201", "1.0", "1e1", "+1", "%201", "", "9" * 23)),
    *(f"{_LIST}?limit={n}" for n in ("%D9%A1", "0x10", "1_0", "true", "NaN", "null", "%00", "[]")),
    *(f"{_LIST}?status={s}" for s in ("", "paid", "PAID,", "PAID%00", CANARY, "PAID;DROP", "*")),
    *(f"{_LIST}?payment_status={s}" for s in ("", "X", "PAID%27", ",".join(["PAID", "x"] * 99))),
    *(f"{_LIST}?currency={c}" for c in ("", "usd", "XXX", "US%00", "USDUSD", "%F0%9F%92%B6", "%27")),
    *(f"{_LIST}?sort={s}" for s in ("", "id", "created_at;", "-total_price", "(SELECT%201)")),
    *(f"{_LIST}?currency=USD&total_min={n}" for n in ("-1", "1e3", "", "1.234", "NaN", "9" * 40)),
    *(f"{_LIST}?total_min=1", f"{_LIST}?has_credit_due=1", f"{_LIST}?has_credit_due=TRUE"),
    *(f"{_LIST}?created_from={t}" for t in ("", "now", "2026-13-01T00:00:00Z", "1772366400")),
    *(f"{_LIST}?created_from={t}" for t in ("2026-01-01", "2026-01-01T00:00:00", "infinity")),
    *(f"{_LIST}?created_to=0000-01-01T00:00:00Z", f"{_LIST}?updated_to=9999-12-31T23:59:60Z"),
    *(f"{_LIST}?updated_from={t}" for t in ("2026-02-30T00:00:00Z", "2026-01-01T00:00:00%2B99:99")),
    *(f"{_LIST}?q={q}" for q in ("", "%00", "a%1bb", "x" * 300)),
    *(f"{_LIST}?user_id={u}" for u in ("", "x", "1", "%00", "{USER}%00")),
    *(f"{_LIST}?include={i}" for i in ("", "TOTAL", "total,total", "password_hash")),
    *(f"/orders/export/?format={f}" for f in ("", "xlsx", "CSV", "..%2f", "csv%00")),
    *(f"/orders/{{ORDER}}/?version={v}" for v in ("0", "-1", "2", "1.5", "99999999999", "x", "")),
    *(f"/orders/{{ORDER}}/?as_of={t}" for t in ("", "yesterday", "2026-01-01", "9" * 30)),
    *("/orders/{ORDER}/?version=1&as_of=2026-01-01T00:00:00Z", "/orders/{ORDER}/?dry_run=true"),
    *(f"/orders/{{ORDER}}/events/?after_version={v}" for v in ("-1", "x", "9" * 20)),
    *(f"/orders/{{ORDER}}/events/?limit={n}" for n in ("0", "501", "x")),
    *(f"/orders/{{ORDER}}/diff/?{d}" for d in ("from=2&to=1", "from=-1", "to=9", "from=a&to=b")),
    *(f"/reports/sales/?from={a}&to={b}" for a, b in (("", ""), ("2026-01-02", "2026-01-01"))),
    *("/reports/sales/", "/reports/sales/?from=2026-02-30&to=2026-03-01"),
    *("/reports/sales/?from=0000-01-01&to=0000-01-02", "/reports/sales/?from=2000-01-01&to=2026-01-01"),
    *("/orders/user/x/", "/orders/user/%00/", "/users/x/summary/", "/users/%27/summary/"),
)  # fmt: skip

_CURSORS = [
    *gets(
        400,
        *(f"{_LIST}?cursor={c}" for c in ("a", "AAAA", "%00", "=", "%25%25", "..%2f", "%F0%9F%92%A9")),
        *(f"{_LIST}?cursor={c}" for c in (CANARY, "A" * 55, "A" * 56, "-" * 55, "{CURSOR}=")),
        *(f"{_LIST}?cursor=A{{CURSOR}}", f"{_LIST}?cursor={{CURSOR}}&status=PAID"),
        *(f"{_LIST}?cursor={{CURSOR}}&sort=updated_at", f"{_MINE}?cursor={{CURSOR}}"),
    ),
    *gets(422, f"{_LIST}?cursor=" + "A" * 101, f"{_LIST}?cursor={{CURSOR}}&cursor={{CURSOR}}"),
]  # fmt: skip


def _with(status: int, path: str, name: str, *values: Text) -> list[Case]:
    return [
        Case(f"{name}: {value[:40]!r}", asked("GET", path, STAFF, (name, value)), status)
        for value in values
    ]


_ORDER = "/orders/{ORDER}/"
_HEADERS = [
    *_with(400, _LIST, "Consistency-Token", "", CANARY, "A" * 35, "A" * 37, "=" * 36, b"\xff" * 36),
    *_with(400, _LIST, "Consistency-Token", _TOKEN, ",", f"{_WIDE},", ", ".join([_WIDE] * 65)),
    *_with(400, _ORDER, "Consistency-Token", _WIDE + " " + _WIDE, "٣" * 36),
    *_with(200, _LIST, "Prefer", "", "wait", "wait=-1", "wait=" + "9" * 30, "wait=1e3", ";;;,,,=",
           b"\xff", 'wait="', "handling=" + CANARY, "wait=0, " * 500),
    *_with(200, _ORDER, "If-None-Match", "", CANARY, "W/", '"', '"1', "*x", ", " * 500, b'"\xff"',
           '"' + "x" * 9_000 + '"'),
    *_with(200, _ORDER, "X-Request-Id", "", CANARY * 50, "<script>", "../../x", b"\xff\xfe" * 5,
           "a\tb c d e f g h"),
    *_with(200, _ORDER, "traceparent", "", CANARY, "00-" + "0" * 32 + "-" + "0" * 16 + "-00",
           "ff-" + "x" * 9_000),
    *_with(200, _ORDER, "Accept", "", "text/html;q=" + "9" * 99, ("*/*," * 999), b"\xff/\xff"),
    *_with(200, _ORDER, "Accept-Encoding", "", "gzip;q=9", "br, " * 999, b"\xff"),
    *_with(200, _ORDER, "Range", "bytes=0-0", "bytes=" + ",".join(["0-0"] * 999), "bytes=9-0"),
    *_with(200, _ORDER, "Origin", "null", "http://localhost.evil.example", b"\xff", "x" * 9_000),
    *_with(200, _ORDER, "X-HTTP-Method-Override", "DELETE"),
    *_with(200, _ORDER, "X-Forwarded-Host", CANARY),
    *_with(200, _ORDER, "Cookie", "a=b; " * 999, b"\xff"),
]  # fmt: skip

_STREAM = "/orders/{ORDER}/stream"
_STREAMS = [
    *_with(400, _STREAM, "Last-Event-ID", "", "x", "-1", "2", "1.5", "9" * 30, "٣", b"\xff", "1\t"),
    *_with(400, "/events/stream", "Last-Event-ID", "", "1", "1.2.3", "1.2.3.4.5", "a.b.c.d"),
    *_with(400, "/events/stream", "Last-Event-ID", "...", "9.9.9.9", "-1.0.0.0", "0." * 5_000),
    *gets(400, f"{_STREAM}?since=x", f"{_STREAM}?since=", f"{_STREAM}?since=%00"),
    *gets(422, f"{_STREAM}?since=0&since=1", f"{_STREAM}?x=1"),
    *gets(
        401,
        *(f"{_STREAM}?ticket={t}" for t in ("", "x", "%00", "A" * 43, "A" * 9_000, "*")),
        who=_NOBODY,
    ),
    *gets(403, "/events/stream", f"{_LIST}", "/orders/export/", who=OWNER),
    *gets(403, "/reports/sales/?from=2026-01-01&to=2026-01-02", who=OWNER),
]

_HARMLESS = gets(
    200,
    *(f"{_LIST}?q={q}" for q in ("%ed%a0%80", "%25", "_", "%27%20OR%201=1", "A-%25-", "\\", "*")),
    *(f"{_LIST}?{a}" for a in ("", "&&&", "limit=1&", "created_to=0001-01-01T00:00:00Z")),
    # Times, though UTC has no year for them.
    f"{_LIST}?created_to=0001-01-01T00:00:00%2B23:59",
    f"{_LIST}?updated_to=9999-12-31T23:59:59-23:59",
    *("/orders//", "/orders/export/?q=%27", "/orders/user/{USER}/?q=..%2f"),
)

READS: list[Case] = [*_HARMLESS, *_IDS, *_PARAMETERS, *_CURSORS, *_HEADERS, *_STREAMS]
