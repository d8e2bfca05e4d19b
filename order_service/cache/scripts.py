"""The cache's Lua scripts: the steps that must be atomic in Redis.

Every script takes two keys, an entry and its lease, which share a hash tag. An entry is one Redis
string: `prefix` (format number and the document's id), its version in digits, then the rest. Any
other value under the key, of any type, is garbage: it counts as a miss and is deleted.

A lease makes a fill safe. A reader creates the lease (or finds one) before it reads PostgreSQL, and
a writer deletes the lease after its commit. So a commit that the reader did not see has either
deleted the lease, and the fill is refused, or will soon replace the entry. The token is random, so
a deleted lease is never valid again; readers that find a lease share it. A lost lease (expiry,
eviction, FLUSHALL) costs one fill and nothing else.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from order_service.cache.entries import Slot
from order_service.infra.redis import NoScriptError, Redis

_READ_ENTRY = """
-- version of the entry (nil if absent or garbage), and its value (false if absent)
local function read_entry(key, prefix)
  local value = redis.pcall('GET', key)  -- pcall: another type under the key is an error
  if type(value) == 'string' and string.sub(value, 1, #prefix) == prefix then
    return tonumber(string.match(value, '^(%d+):', #prefix + 1)), value
  end
  return nil, value
end
"""


@dataclass(frozen=True)
class Script:
    source: str
    sha: str


def _script(body: str) -> Script:
    source = _READ_ENTRY + body
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


# ARGV: prefix, new token, lease in ms. Returns the entry; or the lease's token and 1 if garbage was
# deleted (else 0); or nil if Redis cannot store a lease (it is full).
LOOK_UP = _script("""
local version, value = read_entry(KEYS[1], ARGV[1])
if version then return value end
if value then redis.call('DEL', KEYS[1]) end
redis.pcall('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3])
local token = redis.pcall('GET', KEYS[2])
if type(token) == 'string' then return {token, value and 1 or 0} end
if token then redis.call('DEL', KEYS[2]) end  -- another type: deleted for the next reader
return false
""")

# ARGV: prefix, token, version, ttl in s, value. Returns 1 if it filled the entry: only while the
# lease exists, and only over an absent or older entry.
FILL = _script("""
if redis.pcall('GET', KEYS[2]) ~= ARGV[2] then return 0 end
local version = read_entry(KEYS[1], ARGV[1])
local filled = 0
if not version or version < tonumber(ARGV[3]) then
  filled = redis.pcall('SET', KEYS[1], ARGV[5], 'EX', ARGV[4]).err and 0 or 1  -- 0: Redis is full
end
redis.call('DEL', KEYS[2])
return filled
""")

# ARGV: prefix, version ('' = newer than any), then ttl in s and value, or neither of them.
# Afterwards the entry is absent or at `version` or later, and no earlier read can fill it.
# Never creates an entry.
SUPERSEDE = _script("""
local version, value = read_entry(KEYS[1], ARGV[1])
if value and not (version and version >= (tonumber(ARGV[2]) or math.huge)) then
  local replaced = version and ARGV[4] and redis.pcall('SET', KEYS[1], ARGV[4], 'EX', ARGV[3])
  -- A full Redis refuses SET but not DEL: the old contents must go in any case.
  if not replaced or replaced.err then redis.call('DEL', KEYS[1]) end
end
redis.call('DEL', KEYS[2])
return 1
""")


Call = tuple[Slot, Sequence[Any]]  # a script's keys and further arguments


async def run_many(redis: Redis, script: Script, calls: Sequence[Call]) -> list[Any]:
    """One reply or exception per call; all calls go in one pipeline.

    A pipeline, not one script over all keys: Redis serves other clients between the calls.
    """
    replies = await _pipelined(redis, script, calls)
    if any(isinstance(reply, NoScriptError) for reply in replies):
        await redis.script_load(script.source)
        replies = await _pipelined(redis, script, calls)  # all calls: repeating one is harmless
    return replies


async def _pipelined(redis: Redis, script: Script, calls: Sequence[Call]) -> list[Any]:
    pipeline = redis.pipeline(transaction=False)
    for slot, arguments in calls:
        pipeline.execute_command("EVALSHA", script.sha, 2, slot.entry, slot.lease, *arguments)
    replies: list[Any] = await pipeline.execute(raise_on_error=False)
    return replies
