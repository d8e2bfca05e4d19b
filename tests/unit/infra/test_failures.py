"""Problems for failures of the database."""

import pytest
from asyncpg import InterfaceError, InternalClientError, PostgresError
from asyncpg.exceptions import DiskFullError, UndefinedTableError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from order_service.web.problems.problem import of_exception


@pytest.mark.parametrize(
    "error",
    [
        OSError(),
        InterfaceError("connection is closed"),
        InternalClientError("cannot switch to state 11; another operation (2) is in progress"),
        PoolTimeout(),
        DiskFullError(),
    ],
)
def test_a_database_that_cannot_answer_now_is_a_503(error: Exception) -> None:
    problem = of_exception(error)

    assert problem is not None
    assert (problem.status, problem.slug) == (503, "dependency-unavailable")


def test_a_wrong_statement_is_not_a_failure_of_the_database() -> None:
    mistake: PostgresError = UndefinedTableError()

    assert of_exception(mistake) is None
