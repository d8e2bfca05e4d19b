"""What schemathesis cannot know of our contract, as a check of its own."""

from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, GenerationMode, HookContext, Response
from schemathesis.generation.meta import StatefulPhaseData

# Rules that no JSON schema says: of amounts and currencies, of fields and each other, of what there
# is, of the order (`refused`).
UNSAID = {
    *(
        "amount",
        "attributes",
        "currency",
        "kind",
        "needs_currency",
        "needs_csv",
        "needs_excel",
        "note_missing",
        "price",
        "rate",
        "reference",
        "refused",
        "time",
    ),
    *("unknown", "value_error"),
}


@schemathesis.check
def valid_fields_are_not_called_wrong(
    ctx: CheckContext, response: Response, case: Case
) -> bool | None:
    """A request that is as the schemas say may be refused for what the order is, never for its
    fields as such."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return None
    if response.status_code != 422 or _has_whole_float(case.body):
        return None
    problem = response.json()
    wrong = [e for e in problem.get("errors", ()) if e["code"] not in UNSAID]
    assert not wrong, f"The document allows what is refused: {wrong}"
    return None


def _has_whole_float(value: Any) -> bool:
    """1.0 is an integer to JSON schema, and none to us: integers are written without a fraction."""
    if isinstance(value, dict):
        return any(_has_whole_float(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_has_whole_float(inner) for inner in value)
    return isinstance(value, float) and value.is_integer()


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _whole(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@schemathesis.hook
def map_case(context: HookContext, case: Case) -> Case:
    """Makes of random steps a walk that leads somewhere: most of the orders are placed, and most of
    the commands are about the order as it is."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return case
    if not isinstance(case.meta.phase.data, StatefulPhaseData):
        return case
    for name in ("If-Match", "Idempotency-Key", "Consistency-Token"):
        case.headers.pop(name, None)
    if isinstance(case.body, dict):
        for name in ("expected_version", "total_price", "discount", "user_id", "currency"):
            case.body.pop(name, None)
        if case.operation.label == "POST /orders/":
            items: Any = case.body["items"]
            for number, item in enumerate(items):
                item.pop("price", None)
                item["unit_price"] = number
    if _has_whole_float(case.body):
        case.body = _whole(case.body)
    return case
