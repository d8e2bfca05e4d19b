"""The operator's words beside a running stack: they find it by themselves."""

import json

from tests.support.servers.quiet import quiet
from tests.support.servers.stack import Stack

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
