-- Sends a load with wrk and checks the answers. `dofile(args[1])` is the load, which wrk.py writes.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } bench_time;
  int clock_gettime(int clock, bench_time *time);
]]
local MONOTONIC = 1
local OVERLOADED = 503
local PLACE = "/PATH-STANDS-HERE"
local time = ffi.new("bench_time")
local load
local threads = {}

local function now()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

function setup(thread)
  table.insert(threads, thread)
end

-- A load at a fixed rate has one sequence of slots, and any free connection takes the next slot: so a
-- slow answer delays no other request.
local function keep_to(rate)
  local slots = 0
  return function()
    began = began or now()
    slots = slots + 1
    return math.max(0, math.floor((began + slots / rate - now()) * 1000))
  end
end

function init(args)
  load = dofile(args[1])
  sent, right, wrong, marked, refused, example = 0, 0, 0, 0, 0, ""
  for _, request in ipairs(load.requests) do
    local whole = wrk.format(request.method, PLACE, request.headers, request.body)
    local from, to = whole:find(PLACE, 1, true)
    request.head, request.tail = whole:sub(1, from - 1), whole:sub(to + 1)
    request.at = 0
    if #request.paths == 1 then
      request.whole = request.head .. request.paths[1] .. request.tail
    end
  end
  if load.rate then
    delay = keep_to(load.rate)
  end
end

function request()
  local request = load.requests[sent % #load.requests + 1]
  sent = sent + 1
  if request.whole then
    return request.whole
  end
  request.at = request.at + 1
  if request.at > #request.paths then
    if request.once then
      wrk.thread:stop()
    end
    request.at = 1
  end
  return request.head .. request.paths[request.at] .. request.tail
end

local function is_right(wanted, body)
  if not wanted or (wanted.equals and wanted.equals ~= body) then
    return false
  end
  return not wanted.contains or body:find(wanted.contains, 1, true) ~= nil
end

function response(status, headers, body)
  began = began or now()
  ended = now()
  local wanted = load.expected[status]
  if is_right(wanted, body) then
    right = right + 1
    if wanted.header and headers[wanted.header] == wanted.value then
      marked = marked + 1
    end
  elseif status == OVERLOADED and headers["retry-after"] then
    refused = refused + 1
  else
    wrong = wrong + 1
    example = example ~= "" and example or (status .. " " .. body:sub(1, 300))
  end
end

function done(summary, latency, requests)
  local thread = threads[1]
  local errors = summary.errors
  local from, to = thread:get("began") or 0, thread:get("ended") or 0
  io.write(string.format(
    "\nright=%d marked=%d wrong=%d refused=%d seconds=%.6f\n"
    .. "p50_us=%d p99_us=%d max_us=%d errors=%d\n",
    thread:get("right"), thread:get("marked"), thread:get("wrong"), thread:get("refused"),
    to - from,
    latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect + errors.read + errors.write + errors.timeout))
  io.write(string.format("example=%s\n", (thread:get("example"):gsub("%c", " "))))
end
