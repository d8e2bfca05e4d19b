# ruff: noqa: E501  # rows of data
"""Messages that nobody of ours has sent, for both queues. Whatever is in a hint, it is one; what is
no task of ours, or cannot be done, is thrown away."""

import json
from typing import Any

from aio_pika import Message

_PICKLED = b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07surprise\x94."

_BODIES = [
    *(b"", b"\0", b"\xff\xfe", b"{", b"null", b"[]", b"1e999", b"NaN", b"[" * 100_000, _PICKLED),
    *(b'{"event": "new_order"}', b'{"partition": -1, "position": 1}', b'{"partition": "x"}'),
    *(b'{"partition": 99999999999999999999, "position": 99999999999999999999}', b"x" * 2_000_000),
    *(b'{"event": "new_order", "partition": 1, "position": 9223372036854775808, "data": null}',),
]
_HEADERS: list[dict[str, Any]] = [
    *(
        {"x-death": [{"count": 10**9}]},
        {"": ""},
        {"traceparent": bytearray(b"\xff")},
        {"a": {"b": [None]}},
    ),
    {"x" * 200: "y" * 10_000},
]


def hints() -> list[Message]:
    return [
        *(Message(body) for body in _BODIES),
        *(Message(b"1", headers=headers) for headers in _HEADERS),
        Message(_PICKLED, content_type="application/x-python-serialize"),
        Message(b"1", content_type="text/html", content_encoding="gzip", expiration=0.001),
        Message(b"1", reply_to="nobody", correlation_id="x" * 255, priority=255),
    ]


_TASK = {"task": "probe", "id": "x", "lang": "py", "root_id": "x", "argsrepr": "()"}
_ARGUMENTS: list[Any] = [
    *(None, 1, "x", {}, [], [1], [[], {}], [1, 2, 3], [["x"], [], {}], [{}, {}, {}]),
    *([[], {"partitions": 1}, {}], [[1, 2, 3, 4], {}, {}], [[], {"self": 1}, {}], [["x"], {"": 1}, {}]),
]  # fmt: skip
_PARTITIONS: list[Any] = [
    *(None, 1, "x", {}, ["x"], [None], [-1], [99], [10**30], [1.5], [[1]], [True], [{}]),
    *([1] * 1_000, "0; DROP TABLE events"),
]


def _task(body: Any, **headers: Any) -> Message:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Message(
        data,
        content_type="application/json",
        content_encoding="utf-8",
        headers={**_TASK, **headers},
    )


def tasks() -> list[Message]:
    nothing = [["hostile"], {}, {}]
    return [
        Message(b""),
        Message(_PICKLED, content_type="application/x-python-serialize", headers=_TASK),
        Message(b"--- !!python/object/apply:os.abort []", content_type="application/x-yaml"),
        Message(b'{"partition": 1}', content_type="application/json"),
        Message(b"not json", content_type="application/json", headers=_TASK),
        Message(b"\xff\xfe", content_type="application/json", headers=_TASK),
        Message(b"[]", content_type="application/json", content_encoding="x", headers=_TASK),
        *(_task(arguments) for arguments in _ARGUMENTS),
        *(_task([[partitions], {}, {}], task="advance") for partitions in _PARTITIONS),
        *(_task([["order_view", partition], {}, {}], task="advance_apart") for partition in _PARTITIONS),
        *(_task([[name, 1], {}, {}], task="advance_apart") for name in ("x", None, "events; --")),
        *(_task(nothing, task=name) for name in ("no such", "", "os.system", "celery.backend_cleanup")),
        *(_task(nothing, id=number) for number in (None, 1, {}, "x" * 10_000)),
        _task(nothing, task=1),
        _task(nothing, expires="2000-01-01T00:00:00Z"),
        _task(nothing, expires="tomorrow"),
        _task(nothing, eta="tomorrow"),
        _task(nothing, retries="x", timelimit="x", group=1, meth=1, shadow=1, origin=1),
        _task(nothing, ignore_result=False, reply_to="x"),
        _task([["hostile"], {}, {"callbacks": [{"task": "no such"}], "chord": {"task": "x"}}]),
        _task([["hostile"], {}, {"errbacks": "x", "chain": 1}]),
    ]  # fmt: skip
