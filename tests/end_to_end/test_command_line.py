"""The operator's words beside a running stack: they find it by themselves."""

import json

from tests.support.servers.quiet import quiet
from tests.support.servers.stack import Stack
from tests.support.waiting import eventually

REPORT = "/reports/sales/?from=2026-01-01&to=2026-01-02"
OF_THE_MACHINE = ("open files", "disk of")


async def test_a_demo_fills_the_running_service_and_the_doctor_finds_it_well(stack: Stack) -> None:
    demo = stack.run("demo", "--rate", "500", "--orders", "8", "--at-once", "6", "--json")
    await quiet(stack)
    examined = stack.run("doctor", "--json")

    summary = json.loads(demo.stdout)
    assert (summary["orders"], summary["living"], summary["refused"]) == (8, 0, 0)
    found = json.loads(examined.stdout)
    assert {"relay lag", "web", "queue orders.tasks is read"} <= {one["check"] for one in found}
    wrong = [one for one in found if one["state"] != "ok"]
    assert [one for one in wrong if not one["check"].startswith(OF_THE_MACHINE)] == []


async def test_keys_are_made_listed_rotated_narrowed_and_revoked(stack: Stack) -> None:
    async def statuses(key: str) -> tuple[int, int]:
        headers = {"Authorization": f"Bearer {key}"}
        async with stack.client() as client:
            found = [await client.get(path, headers=headers) for path in ("/orders/", REPORT)]
        return found[0].status_code, found[1].status_code

    scopes = ("-s", "orders:read", "-s", "reports:read")
    made = stack.run("keys", "create", "till", *scopes, "--rate-limit", "50/second")
    key = made.stdout.strip()
    [listed] = [
        one
        for one in json.loads(stack.run("keys", "list", "--json").stdout)
        if one["name"] == "till"
    ]
    assert key.startswith(listed["prefix"])
    assert (listed["scopes"], listed["rate_limit"]) == (
        ["orders:read", "reports:read"],
        "50/second",
    )
    assert await statuses(key) == (200, 200)

    rotated = stack.run("keys", "rotate", listed["id"], "--overlap", "PT1H").stdout.strip()
    assert (await statuses(key), await statuses(rotated)) == ((200, 200), (200, 200))
    narrowed = stack.run("keys", "narrow", listed["id"], "-s", "orders:read")
    assert narrowed.stdout == f"API key {listed['id']} has the scopes orders:read.\n"
    assert await eventually(lambda: statuses(rotated), (200, 403).__eq__) == (200, 403)
    assert "till" in stack.run("keys", "list").stdout
    assert stack.run("keys", "revoke", listed["id"]).returncode == 0
    assert await eventually(lambda: statuses(rotated), (401, 401).__eq__) == (401, 401)
    assert "till" not in stack.run("keys", "list").stdout

    again = stack.run("keys", "rotate", listed["id"])
    assert (again.returncode, again.stderr) == (1, "There is no such API key, or it is revoked.\n")
    wrong = stack.run("keys", "create", "till", "-s", "orders:read", "--rate-limit", "fast")
    assert wrong.returncode == 2
    assert "expected COUNT/second|minute|hour|day" in wrong.stderr
