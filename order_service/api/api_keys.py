"""API key routes, for admins: create, list, narrow, rotate, revoke.

A key's rights never grow, so that a program which holds one never gets more than an admin gave it.
"""

import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path
from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

from order_service import limits
from order_service.accounts import key_store
from order_service.accounts.api_keys import SCOPES, Scope, prefix_of
from order_service.accounts.key_store import ApiKey, NewKey
from order_service.documents import accounts as documents
from order_service.documents.shape import json_time
from order_service.ids import parse_uuid
from order_service.settings import check_rate
from order_service.web.fields import NO_CONTROL, Body, Id, Time, Words, string_schema
from order_service.web.identity import Caller, PersonDependency
from order_service.web.json_body import json_body
from order_service.web.openapi.annotations import documented, raises
from order_service.web.problems.problem import Problem
from order_service.web.query_parameters import known_parameters
from order_service.web.responses import NO_STORE, json_answer

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/api-keys", tags=["api-keys"], dependencies=[Depends(known_parameters)])


@raises("forbidden")
async def administrator(caller: PersonDependency) -> Caller:
    """A FastAPI dependency: an admin. Declare it after the body, so that an invalid body is refused
    first. Raises Problem 403."""
    if caller.role != "admin":
        detail = "Only an admin may manage API keys."
        raise Problem(403, "forbidden", detail, required_role="admin")
    return caller


AdministratorDependency = Annotated[Caller, Depends(administrator)]
KeyPath = Annotated[str, Path(description="The API key's id.")]


# --- fields ---------------------------------------------------------------------------------------


def _rate(value: Any) -> str:
    try:
        return check_rate(value)
    except (TypeError, ValueError):
        raise PydanticCustomError("rate", "A rate is written as 1000/minute") from None


def _duration(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(_WEEK_AT_MOST, value, re.ASCII):
        raise PydanticCustomError("duration", "A duration is written as PT24H, at most P7D")
    return value


# In one unit, so that the schema can say the bound. At most API_KEY_OVERLAP_MAX_S.
_WEEK_AT_MOST = "P[0-7]D|PT([0-9]{1,2}|1[0-5][0-9]|16[0-8])H|PT[0-9]{1,4}M|PT[0-9]{1,5}S"
KeyName = Annotated[
    Words,
    Field(max_length=limits.API_KEY_NAME_LENGTH_MAX),
    string_schema(limits.API_KEY_NAME_LENGTH_MAX, rf"^{NO_CONTROL}*(?!\s){NO_CONTROL}+$"),
]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))]
Rate = Annotated[
    str,
    BeforeValidator(_rate),
    WithJsonSchema(
        {"type": "string", "pattern": "^[1-9][0-9]{0,8}/(second|minute|hour|day)$"},
    ),
]
Overlap = Annotated[
    timedelta,
    BeforeValidator(_duration),
    Field(ge=timedelta(0), le=timedelta(seconds=limits.API_KEY_OVERLAP_MAX_S)),
    WithJsonSchema({"type": "string", "pattern": f"^({_WEEK_AT_MOST})$", "examples": ["PT24H"]}),
]


class CreateKeyRequest(Body):
    """`acts_for`: the key sees and changes the orders of this user only."""

    name: KeyName
    scopes: Scopes
    rate_limit: Rate | None = None
    expires_at: Time | None = None
    acts_for: Id | None = None


class ChangeKeyRequest(Body):
    """`scopes` may only lose some, `expires_at` only come nearer. null: no own limit, no end."""

    # Factories, so that the schema shows neither a default nor null: only what is sent counts.
    name: KeyName = Field(default_factory=str)
    scopes: Scopes = Field(default_factory=list)
    rate_limit: Rate | None = None
    expires_at: Time | None = None


class RotateKeyRequest(Body):
    """`overlap`: how long the present key still holds, as an ISO 8601 duration in days, hours,
    minutes or seconds, of at most P7D."""

    overlap: Overlap = timedelta(seconds=limits.API_KEY_OVERLAP_DEFAULT_S)


# --- routes ---------------------------------------------------------------------------------------


@router.post(
    "/",
    operation_id="api_keys_create",
    status_code=201,
    summary="Create an API key",
    response_model=documents.NewApiKey,
    responses=documented("too-many-api-keys", status=201, sends=("Location",)),
)
async def create(
    request: Request,
    body: Annotated[CreateKeyRequest, Depends(json_body(CreateKeyRequest))],
    admin: AdministratorDependency,
) -> Response:
    """A key for a program. Only this response shows it: the service keeps a digest."""
    wanted = NewKey(body.name, body.scopes, body.rate_limit, body.expires_at, body.acts_for)
    stored, key = await key_store.create(request.app.state.engine, wanted, admin.user_id)
    logger.info("API key created: %s", stored.id)
    headers = {"Location": f"/api-keys/{stored.id}/", **NO_STORE}
    return json_answer(_with_secret(stored, key), 201, headers)


@router.get(
    "/",
    operation_id="api_keys_list",
    summary="List API keys",
    response_model=documents.ApiKeys,
    responses=documented(),
)
async def list_keys(request: Request, _: AdministratorDependency) -> Response:
    """All keys that are not revoked, the newest first."""
    stored = await key_store.list_all(request.app.state.engine)
    return json_answer(documents.ApiKeys([_document(key) for key in stored]), headers=NO_STORE)


@router.get(
    "/{key_id}/",
    operation_id="api_keys_get",
    summary="Read an API key",
    response_model=documents.ApiKey,
    responses=documented("not-found"),
)
async def get_key(request: Request, key_id: KeyPath, _: AdministratorDependency) -> Response:
    """The key, also a revoked one, whose id events may have as their actor."""
    stored = await key_store.find(request.app.state.engine, _id(key_id))
    return json_answer(_document(stored), headers=NO_STORE)


@router.patch(
    "/{key_id}/",
    operation_id="api_keys_change",
    summary="Narrow or rename an API key",
    response_model=documents.ApiKey,
    responses=documented("not-found"),
)
async def change(
    request: Request,
    key_id: KeyPath,
    body: Annotated[ChangeKeyRequest, Depends(json_body(ChangeKeyRequest))],
    admin: AdministratorDependency,
) -> Response:
    """Takes scopes away, brings the end nearer, or sets name and limit; within two seconds in all
    processes."""
    changes: Mapping[str, Any] = body.model_dump(exclude_unset=True)
    stored = await key_store.change(request.app.state.engine, _id(key_id), changes)
    return _changed(request, stored, "changed")


@router.post(
    "/{key_id}/rotate/",
    operation_id="api_keys_rotate",
    summary="Rotate an API key",
    response_model=documents.NewApiKey,
    responses=documented("not-found"),
)
async def rotate(
    request: Request,
    key_id: KeyPath,
    body: Annotated[RotateKeyRequest, Depends(json_body(RotateKeyRequest, optional=True))],
    admin: AdministratorDependency,
) -> Response:
    """A new key with the same id, scopes and limit. The present one holds for `overlap`; one before
    it, from an earlier rotation, ends now."""
    stored, key = await key_store.rotate(request.app.state.engine, _id(key_id), body.overlap)
    _changed(request, stored, "rotated")
    return json_answer(_with_secret(stored, key), headers=NO_STORE)


@router.delete(
    "/{key_id}/",
    operation_id="api_keys_revoke",
    summary="Revoke an API key",
    response_model=documents.ApiKey,
    responses=documented("not-found"),
)
async def revoke(request: Request, key_id: KeyPath, _: AdministratorDependency) -> Response:
    """Ends the key, and its predecessor in a rotation: within two seconds in all processes. Answers
    the same for a key that is revoked already."""
    stored = await key_store.revoke(request.app.state.engine, _id(key_id))
    return _changed(request, stored, "revoked")


def _changed(request: Request, stored: ApiKey, how: str) -> Response:
    request.app.state.admission.known_keys.forget(stored.id)
    logger.info("API key %s: %s", how, stored.id)
    return json_answer(_document(stored), headers=NO_STORE)


def _id(key_id: str) -> UUID:
    """Raises Problem 404."""
    found = parse_uuid(key_id)
    if found is None:
        raise Problem(404, "not-found", "There is no such API key.")
    return found


def _document(key: ApiKey) -> documents.ApiKey:
    return documents.ApiKey(**_members(key))


def _with_secret(key: ApiKey, secret: str) -> documents.NewApiKey:
    return documents.NewApiKey(**_members(key), key=secret)


def _members(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": prefix_of(key.id),
        "scopes": list(key.scopes),
        "rate_limit": key.rate_limit,
        "acts_for": key.acts_for,
        "created_at": json_time(key.created_at),
        "created_by": key.created_by,
        "expires_at": json_time(key.expires_at),
        "last_used_at": json_time(key.last_used_at),
        "rotated_at": json_time(key.rotated_at),
        "previous_until": json_time(key.previous_until),
        "revoked_at": json_time(key.revoked_at),
    }
