"""Documents as order_view keeps them."""

import pytest

from order_service.documents.order import document
from projections.read_models.document_compression import pack, unpack
from tests.support.log.examples import CAPTURED, PAID, PLACED
from tests.unit.documents.test_representation import folded

DOCUMENT = document(folded(PLACED, CAPTURED, PAID))


@pytest.mark.parametrize("whole", [DOCUMENT, b"", b"{}", bytes(range(256)) * 300])
def test_what_is_packed_comes_back(whole: bytes) -> None:
    assert unpack(pack(whole)) == whole


def test_what_was_never_packed_is_left_alone() -> None:
    assert unpack(b"{}") == b"{}"


def test_a_small_document_becomes_much_smaller() -> None:
    """PostgreSQL would leave it as it is; without the dictionary half of it would stay."""
    assert len(DOCUMENT) < 2_000
    assert len(pack(DOCUMENT)) < len(DOCUMENT) / 3
