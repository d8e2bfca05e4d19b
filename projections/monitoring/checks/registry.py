"""The only list of checks, with the surfaces that run each, in the order of display."""

from projections.monitoring.checks import lag, machine, postgres, processes, rabbitmq, redis
from projections.monitoring.checks.check import Check
from projections.monitoring.checks.servers import answers, clocks

CHECKS: tuple[Check, ...] = (
    Check("postgresql answer", answers, health="postgresql", health_unknown="down"),
    Check("redis answer", answers, health="redis"),
    Check("rabbitmq answer", answers, health="rabbitmq"),
    Check("clocks", clocks, health="clocks"),
    Check("postgresql", postgres.server, doctor=True),
    Check("postgresql", postgres.durable, start=True, doctor=True),
    Check("postgresql", postgres.revision, start=True, readyz="database", doctor=True),
    Check("append", postgres.appends, readyz="append", readyz_error="AppendError", doctor=True),
    Check("settings", rabbitmq.greets, readyz="broker"),
    Check("redis", redis.pings, readyz="cache"),
    Check("postgresql", lag.late, readyz="lag", readyz_error="Lagging"),
    Check("checkpoints", lag.relay, health="relay", health_unknown="down"),
    Check("checkpoints", lag.read_models, health="read models", health_unknown="down"),
    Check("checkpoints", lag.checkpoints, doctor=True),
    Check("processes", processes.roles, health="processes"),
    Check("redis", redis.server, doctor=True),
    Check("rabbitmq", rabbitmq.server, doctor=True),
    Check("web", machine.web, doctor=True),
    Check("settings", machine.machine, doctor=True),
)
START = [check for check in CHECKS if check.start]
READYZ = [check for check in CHECKS if check.readyz]
HEALTH = [check for check in CHECKS if check.health]
DOCTOR = [check for check in CHECKS if check.doctor]
