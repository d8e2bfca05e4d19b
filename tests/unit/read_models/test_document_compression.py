"""Compression of the documents in order_view."""

import pytest

from order_service.documents.order import document
from projections.read_models.document_compression import pack, unpack
from tests.support.log.examples import CAPTURED, PAID, PLACED
from tests.unit.documents.test_order_bytes import folded

DOCUMENT = document(folded(PLACED, CAPTURED, PAID))


@pytest.mark.parametrize("whole", [DOCUMENT, b"", b"{}", bytes(range(256)) * 300])
def test_a_packed_document_unpacks_to_itself(whole: bytes) -> None:
    assert unpack(pack(whole)) == whole


def test_an_unpacked_document_stays_as_it_is() -> None:
    assert unpack(b"{}") == b"{}"


def test_a_small_document_becomes_much_smaller() -> None:
    """PostgreSQL would not compress it, and without the dictionary half its size would remain."""
    assert len(DOCUMENT) < 2_000
    assert len(pack(DOCUMENT)) < len(DOCUMENT) / 3
