"""JSON bodies: read within limits, parsed without loss, validated by a model.

FastAPI's own parser accepts any size and encoding, turns decimals into floats, keeps the last of
two equal keys, and answers 500 to NaN or a lone surrogate. So a route declares its body with
`json_body(Model)`:

    @router.post("/orders/")
    async def place(order: Annotated[PlaceOrder, Depends(json_body(PlaceOrder))]) -> Response: ...

`admission.admit` checks the media type before anything else; the JSON is parsed when the dependency
runs. Declare it after `caller`, so that only bodies of known callers are parsed.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

import jiter
from fastapi.routing import APIRoute
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema
from starlette.requests import Request

from order_service import limits
from order_service.web.problems.problem import Problem, validation

M = TypeVar("M", bound=BaseModel)
# Without lone surrogates, too: pydantic takes none as a string.
PLAIN = r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
_CHARSET = re.compile(r"""charset\s*=\s*"?([^";\s]*)""", re.IGNORECASE)
_MEMBERS_UNCOUNTED_BYTES = 16 * 1024  # too short to keep validation busy
_ELEMENTS_VALIDATED = 2 * limits.LINES_MAX  # of a list, at most; a longer one is refused as such
WITH_BODY = {"POST", "PUT", "PATCH", "DELETE"}


class Characters:
    """Annotates a `str` that every store and protocol of ours can hold: PostgreSQL refuses NUL,
    UTF-8 refuses lone surrogates. Every text of every body has it, or a pattern that is narrower:
    a plain `str` takes NUL.

    Written as core schemas, which pydantic checks without calling Python: function validators and
    constraints on top of them took a quarter of the time for an order's body.
    """

    def __init__(self, least: int = 0, most: int | None = None, pattern: str | None = None) -> None:
        """Characters, at least and at most; `pattern` is checked last, and needs WithJsonSchema."""
        self._schema: dict[str, Any] = {"type": "string", "pattern": f"^{PLAIN}*$"}
        if least:
            self._schema["minLength"] = least
        if most is not None:
            self._schema["maxLength"] = most
        self._bounded = core_schema.str_schema(
            strict=True, min_length=least, max_length=most, pattern=pattern
        )

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        plain = core_schema.custom_error_schema(
            core_schema.str_schema(pattern=f"^{PLAIN}*$"),
            custom_error_type="control_characters",
            custom_error_message="Text may not contain control characters",
        )
        return core_schema.chain_schema([core_schema.str_schema(strict=True), plain, self._bounded])

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return dict(self._schema)


Text = Annotated[str, Characters()]


class JsonBody(Generic[M]):
    """A FastAPI dependency that returns the request's body as a `model`."""

    media_types: tuple[str, ...] = ("application/json",)
    problems = ("request-timeout", "unsupported-media-type", "validation")

    def __init__(
        self, model: type[M], media_types: tuple[str, ...] | None = None, *, optional: bool = False
    ) -> None:
        """`optional`: a missing body is an empty object."""
        self.model = model
        self._validate: Callable[[Any], M] = model.__pydantic_validator__.validate_python
        self.media_types = media_types or type(self).media_types
        self.optional = optional

    async def __call__(self, request: Request) -> M:
        return self.parse(await request.body())

    def parse(self, body: bytes) -> M:
        """The model. Raises Problem 400, 422."""
        parsed = {} if self.optional and not body else parse_json(body)
        if len(body) > _MEMBERS_UNCOUNTED_BYTES:
            _check_members(parsed)
        return self.validate(parsed)

    def validate(self, parsed: Any) -> M:
        """The model. Raises Problem 422."""
        try:
            return self._validate(parsed)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            raise validation(errors) from None

    def openapi(self) -> dict[str, Any]:
        """The operation's requestBody, in the first of the media types: clients need one."""
        schema = {"$ref": f"#/components/schemas/{self.model.__name__}"}
        content = {self.media_types[0]: {"schema": schema}}
        return {"required": not self.optional, "content": content}


def json_body(
    model: type[M], media_types: tuple[str, ...] | None = None, *, optional: bool = False
) -> JsonBody[M]:
    return JsonBody(model, media_types, optional=optional)


def parse_json(data: bytes) -> Any:
    """Parsed JSON; numbers with a point or exponent are Decimal. A byte order mark before it is
    skipped (RFC 8259 8.1). Raises Problem 400, or 422 for a duplicate key."""
    try:
        data = data.removeprefix(BOM_UTF8)
        return jiter.from_json(
            data, allow_inf_nan=False, catch_duplicate_keys=True, float_mode="decimal"
        )
    except ValueError as error:
        message = str(error)
    if message.startswith("Detected duplicate key"):
        duplicate = {"loc": (), "msg": "A key is given twice", "type": "duplicate_key"}
        raise validation([duplicate])
    where = message.rpartition(" at ")[2]  # "line 1 column 12": never a piece of the body
    raise Problem(400, "malformed-request", f"The body is not valid JSON ({where}).")


def _check_members(parsed: Any) -> None:
    """Raises Problem 422 for an object with too many members, each of which validation would
    list."""
    values: list[Any] = [parsed]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            if len(value) > limits.BODY_MEMBERS_MAX:
                detail = f"An object has at most {limits.BODY_MEMBERS_MAX} members"
                raise validation([{"loc": (), "msg": detail, "type": "too_long"}])
            values += value.values()
        elif isinstance(value, list):
            values += value[:_ELEMENTS_VALIDATED]


def check_media_type(request: Request) -> None:
    """Raises Problem 415 unless the body, if there is one, has one of the route's media types, is
    UTF-8 and has no content encoding."""
    headers = request.headers
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if request.method not in WITH_BODY or not has_body:
        return
    accepted = accepted_types(request.scope.get("route"))
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    charset = _CHARSET.search(parameters)
    if (
        media_type.strip().lower() not in accepted
        or headers.get("content-encoding", "identity").lower() != "identity"
        or (charset is not None and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"))
    ):
        accept = {"PATCH": "Accept-Patch", "POST": "Accept-Post"}.get(request.method, "Accept")
        detail = f"Send {' or '.join(accepted)} in UTF-8, without Content-Encoding."
        raise Problem(415, "about:blank", detail, {accept: ", ".join(accepted)})


def accepted_types(route: object) -> tuple[str, ...]:
    body = body_of(route)
    return JsonBody.media_types if body is None else body.media_types


def body_of(route: object) -> JsonBody[Any] | None:
    """The body that the route declares among its dependencies, if any."""
    if isinstance(route, APIRoute):
        for dependency in route.dependant.dependencies:
            if isinstance(dependency.call, JsonBody):
                return dependency.call
    return None
