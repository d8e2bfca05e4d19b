"""The differences between two versions of an order's document. Pure."""

from typing import Any

from order_service.documents.history import Change

Json = Any
_IDS = ("line_id", "id")


def changes(before: Json, after: Json, pointer: str = "") -> list[Change]:
    """The differences of two JSON values: `pointer` (RFC 6901), `from` and `to`.

    Members of objects are compared by name. Elements of lists are compared by `line_id` or `id` if
    each has one of its own, so that their order makes no difference; other lists as a whole. A
    pointer has an element's index in the newer list, or in the older list if it was removed. A
    value that is absent on one side is null.
    """
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        return _of_objects(before, after, pointer)
    if isinstance(before, list) and isinstance(after, list):
        old, new = _by_id(before), _by_id(after)
        if old is not None and new is not None:
            return _of_lists(old, new, pointer)
    return [Change(pointer, before, after)]


def _of_objects(before: dict[str, Json], after: dict[str, Json], pointer: str) -> list[Change]:
    found = []
    for name in [*before, *(name for name in after if name not in before)]:
        inner = f"{pointer}/{_escaped(name)}"
        found += changes(before.get(name), after.get(name), inner)
    return found


Elements = dict[Any, tuple[int, Json]]


def _of_lists(before: Elements, after: Elements, pointer: str) -> list[Change]:
    found = []
    for key, (index, element) in after.items():
        _, old = before.get(key, (0, None))
        found += changes(old, element, f"{pointer}/{index}")
    for key, (index, element) in before.items():
        if key not in after:
            found += changes(element, None, f"{pointer}/{index}")
    return found


def _by_id(elements: list[Json]) -> Elements | None:
    """Id to index and element; None if an element has no id, or two have the same."""
    found = {_id(element): (index, element) for index, element in enumerate(elements)}
    return None if None in found or len(found) < len(elements) else found


def _id(element: Json) -> Any:
    if not isinstance(element, dict):
        return None
    return next((element[name] for name in _IDS if name in element), None)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
