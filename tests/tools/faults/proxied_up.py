"""`up` as an operator runs it, except that the roles reach the servers through proxies, and that no
process has a niceness: on a busy machine a process with one hardly runs.

python -m tests.tools.faults.proxied_up STATE PORT NAME=PORT ...
where NAME is DB_PORT, REDIS_PORT or RABBITMQ_PORT.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from order_service.stack.state import StackError, State
from order_service.stack.up import Roles, order_service_roles, up


def main(arguments: Sequence[str]) -> int:
    folder, port, *given = arguments
    proxied = dict(word.split("=", 1) for word in given)

    def roles(state: State, port: int, settings: Mapping[str, str]) -> Roles:
        return order_service_roles(state, port, {**settings, **proxied})

    return up(State(Path(folder)), int(port), roles, apply_niceness=False)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except StackError as error:
        sys.exit(str(error))
