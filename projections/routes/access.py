"""Which caller may read what."""

from typing import Annotated
from uuid import UUID

from fastapi import Path
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.accounts import users
from order_service.accounts.api_keys import Scope
from order_service.web.identity import Caller, check_scope
from order_service.web.problems.problem import Problem

UserPath = Annotated[UUID, Path(description="The user's id, as in an order's user_id.")]


def staff_only(caller: Caller, scope: Scope) -> None:
    """The caller is staff, or an API key with the scope. Raises Problem 403, RuleViolation."""
    check_scope(caller, scope)
    if not caller.acts_for_shop:
        raise _forbidden("Only the shop's staff may do this.")


def owner_or_staff(caller: Caller, user_id: UUID, scope: Scope) -> None:
    """The caller is the user, staff, or an API key with the scope that acts for the user. Raises
    Problem 403, RuleViolation."""
    check_scope(caller, scope)
    if not caller.sees(user_id):
        raise _forbidden("This belongs to another user.")


async def check_user(engine: AsyncEngine, user_id: UUID) -> None:
    """The user exists: for staff, since their reads of an unknown user find nothing. Raises Problem
    404."""
    if await users.find(engine, user_id) is None:
        raise Problem(404, "not-found", "There is no such user.")


def _forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", detail, required_role="staff")
