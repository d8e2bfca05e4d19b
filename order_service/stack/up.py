"""`up`: starts servers, migrates, starts roles, and decides when the stack is ready."""

import os
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from order_service.stack import programs, servers
from order_service.stack.processes import BACKGROUND_NICENESS, MARK, Command, end_leftovers
from order_service.stack.servers import Server
from order_service.stack.settings import (
    FLOWER_PORT,
    process_environment,
    role_settings,
    servers_to_start,
    stack_settings,
    with_free_flower_port,
)
from order_service.stack.state import ROOT, StackError, State
from order_service.stack.supervisor import Stopped, Supervisor, say, step

# Once both have a consumer, an order reaches the read models.
CONSUMED_QUEUES = ("orders.projections", "orders.tasks")
READY_TIMEOUT_S = 2.0
FOREGROUND = ("web", "migrate")  # all other roles have BACKGROUND_NICENESS


@dataclass(frozen=True)
class Roles:
    """The processes of the service: `migrate` runs to its end first; `ready` returns whether all
    commands do their work.
    """

    migrate: Command | None
    commands: tuple[Command, ...]
    ready: Callable[[], bool]


MakeRoles = Callable[[State, int, Mapping[str, str]], Roles]


def up(
    state: State,
    port: int,
    make_roles: MakeRoles | None = None,
    *,
    apply_niceness: bool = True,
) -> int:
    """Runs the whole stack until a stop signal; returns the exit code. `apply_niceness`: whether
    RabbitMQ and the background roles get their niceness once the stack is ready. Raises StackError.
    """
    require_linux()
    state.create()
    with state.lock():
        if ended := end_leftovers(state.read()["instance"]):
            say(f"ended {ended} processes that the last start left behind")
        if not servers.is_free(port):
            raise StackError(
                f"Port {port} is taken by another program: "
                "choose a free one with --port, as in `./entrypoint.sh up --port 8080`."
            )
        with Supervisor(state) as supervisor:
            try:
                _start(supervisor, state, port, make_roles or order_service_roles)
                if apply_niceness:
                    supervisor.apply_niceness()
                supervisor.keep_running()
            except Stopped:
                say("stopping")
        say("stopped")
    return 0


def require_linux() -> None:
    if not sys.platform.startswith("linux"):
        raise StackError("`up` and `test` need Linux: elsewhere use `docker compose up --build`.")


def _start(supervisor: Supervisor, state: State, port: int, make_roles: MakeRoles) -> None:
    starting = start_servers(supervisor, state, servers_to_start(os.environ))
    settings = with_free_flower_port(stack_settings(state.read(), os.environ))
    state.update(settings=settings)
    roles = make_roles(state, port, settings)
    if roles.migrate:  # it needs no RabbitMQ, so it runs while that one starts
        supervisor.run_to_end(roles.migrate)
    wait_for(supervisor, starting)
    for command in roles.commands:
        supervisor.start(command)
    supervisor.wait_ready(", ".join(command.name for command in roles.commands), roles.ready)
    _say_flower(settings)
    say(f"ready http://{servers.LOOPBACK}:{port}")


def _say_flower(settings: Mapping[str, str]) -> None:
    port, wanted = settings["FLOWER_PORT"], os.environ.get("FLOWER_PORT", str(FLOWER_PORT))
    if port != wanted:
        say(f"port {wanted} is taken by another program, so flower is on {port}")
    # Without the password: the output of `up` may be kept as a log.
    login = f"user {settings['FLOWER_USER']}, password FLOWER_PASSWORD of `./entrypoint.sh env`"
    say(f"flower http://{servers.LOOPBACK}:{port} {login}")


def start_servers(supervisor: Supervisor, state: State, hosts: frozenset[str]) -> list[Server]:
    """Starts the servers of these `..._HOST` settings, the slowest first. Returns those that may
    not answer yet: RabbitMQ.
    """
    ports = servers.choose_ports(state)
    supervisor.hold(ports.values())
    secrets = state.read()["secrets"]
    started = []
    if "RABBITMQ_HOST" in hosts:
        found = _find(programs.RABBITMQ)
        mapper, node = servers.rabbitmq(state, found, ports, secrets["RABBITMQ_PASSWORD"])
        supervisor.start(mapper.command)
        supervisor.wait_ready("epmd", mapper.ready)
        started.append(node)
        supervisor.start(node.command)
    if "REDIS_HOST" in hosts:
        started.append(
            servers.redis(state, _find(programs.REDIS), ports["redis"], secrets["REDIS_PASSWORD"])
        )
        supervisor.start(started[-1].command)
    if "DB_HOST" in hosts:
        found = _find(programs.POSTGRESQL)
        with step("postgres: data folder"):
            started.append(
                servers.postgres(state, found, ports["postgres"], secrets["DB_PASSWORD"])
            )
        supervisor.start(started[-1].command)
    slow = [server for server in started if server.command.name == "rabbitmq"]
    wait_for(supervisor, [server for server in reversed(started) if server not in slow])
    return slow


def wait_for(supervisor: Supervisor, starting: Sequence[Server]) -> None:
    """Returns once all servers answer. Raises StackError."""
    for server in starting:
        supervisor.wait_ready(server.command.name, server.ready)


def order_service_roles(state: State, port: int, settings: Mapping[str, str]) -> Roles:
    mark = {MARK: state.read()["instance"]}

    def command(name: str, port: int | None = None, *options: str) -> Command:
        environment = process_environment(role_settings(name, settings)) | mark
        argv = (sys.executable, "-m", "order_service.cli", name, *options)
        niceness = 0 if name in FOREGROUND else BACKGROUND_NICENESS
        return Command(name, argv, environment, ROOT, port, niceness=niceness)

    host = ("--host", servers.LOOPBACK)
    commands = (
        command("relay"),
        command("consumer"),
        command("worker"),
        command("flower", int(settings["FLOWER_PORT"]), *host),
        command("web", port, *host, "--port", str(port)),
    )
    return Roles(command("migrate"), commands, partial(_is_ready, port, settings))


def _find(software: programs.Software) -> programs.Programs:
    with step(f"{software.title}: programs"):
        found = programs.find(software, say)
    say(f"  {found.folder}")
    return found


def _is_ready(port: int, settings: Mapping[str, str]) -> bool:
    """Whether web is ready and an order would reach the read models."""
    try:
        with urllib.request.urlopen(
            f"http://{servers.LOOPBACK}:{port}/readyz", timeout=READY_TIMEOUT_S
        ) as answer:
            return answer.status == 200 and _queues_have_consumers(settings)
    except (OSError, ValueError):
        return False


def _queues_have_consumers(settings: Mapping[str, str]) -> bool:
    import amqp  # installed before roles run

    try:
        with amqp.Connection(
            f"{settings['RABBITMQ_HOST']}:{settings.get('RABBITMQ_PORT', '5672')}",
            settings["RABBITMQ_USER"],
            settings["RABBITMQ_PASSWORD"],
            virtual_host=settings.get("RABBITMQ_VHOST", "/"),
            connect_timeout=READY_TIMEOUT_S,
            read_timeout=READY_TIMEOUT_S,
        ) as connection:
            return all(
                connection.channel().queue_declare(queue, passive=True).consumer_count > 0
                for queue in CONSUMED_QUEUES
            )
    except (OSError, amqp.AMQPError):  # no RabbitMQ or no queue yet
        return False
