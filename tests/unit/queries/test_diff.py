"""The differences of two documents, as JSON pointers."""

from order_service.documents.history import Change
from projections.queries.diff import changes


def test_members_that_differ_are_named_with_both_values() -> None:
    before = {"status": "PENDING", "same": [1], "gone": 1, "a/b~c": 1}
    after = {"status": "PAID", "same": [1], "new": 2, "a/b~c": 2}

    assert changes(before, after) == [
        Change("/status", "PENDING", "PAID"),
        Change("/gone", 1, None),
        Change("/a~1b~0c", 1, 2),
        Change("/new", None, 2),
    ]


def test_elements_are_compared_by_their_ids() -> None:
    """The index is that of the newer list; of a removed element, that of the older."""
    before = {"items": [{"line_id": 1, "q": 1}, {"line_id": 2, "q": 1}, {"line_id": 3, "q": 1}]}
    after = {"items": [{"line_id": 3, "q": 5}, {"line_id": 2, "q": 1}, {"line_id": 4, "q": 1}]}

    assert changes(before, after) == [
        Change("/items/0/q", 1, 5),
        Change("/items/2", None, {"line_id": 4, "q": 1}),
        Change("/items/0", {"line_id": 1, "q": 1}, None),
    ]


def test_lists_without_unique_ids_are_compared_as_a_whole() -> None:
    twice = [{"line_id": 1, "condition": "DAMAGED"}, {"line_id": 1, "condition": "SELLABLE"}]

    assert changes(["a"], ["a", "b"], "/x") == [Change("/x", ["a"], ["a", "b"])]
    assert changes(twice, twice[:1], "/x") == [Change("/x", twice, twice[:1])]
    assert changes([], [{"id": "s"}], "/x") == [Change("/x/0", None, {"id": "s"})]


def test_a_missing_document_differs_as_a_whole() -> None:
    assert changes(None, {"version": 1}) == [Change("", None, {"version": 1})]
