-- seed: {base, now, kind, units}; key: spent
local function seed(op, base)
  if cells[KEYS[base + 1]] then
    return false
  end
  put(KEYS[base + 1], op[4], LEDGERED_MS)
  return true
end

-- peek: {base, now, kind, demands}; keys: holds, demands ...
local function peek(op, base, now)
  local state = read(base + 1, op[4], "", now)
  local states = {}
  for n, demand in ipairs(op[4]) do
    states[n] = told(demand, KEYS[base + 1 + n], state)
  end
  return { now, states }
end

-- sweep: {base, now, kind}; key: holds. Tells how many ended and how many still run.
local function sweep(_, base, now)
  return { expire(KEYS[base + 1], now) }
end

local REPLICA = "READONLY This server is a replica."

-- announce: {base, now, kind, version}; key: version
local VERSION_MS = 86400000
local function announce(op, base)
  if tonumber(cells[KEYS[base + 1]] or 0) < op[4] then
    put(KEYS[base + 1], string.format("%.0f", op[4]), VERSION_MS)
  end
  return true
end

-- nothing: {base, now, kind}. Only what can be written to is there.
local function nothing()
  local info = redis.pcall("INFO", "replication")
  if type(info) == "string" and string.find(info, "role:slave", 1, true) then
    error(REPLICA)
  end
  return true
end

-- ARGV: the operations, packed; how much longer than needed an instant is kept, in ms.
-- Each operation is decided after those before it, and has an answer or error of its own.
local KINDS = {
  acquire = acquire, settle = settle, take_back = settle, renew = renew,
  seed = seed, peek = peek, sweep = sweep, announce = announce, nothing = nothing,
}
local time = call("TIME")
local server_now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local grace_ms = tonumber(ARGV[2])
local answers = {}
fetch_all()
for n, op in ipairs(cmsgpack.unpack(ARGV[1])) do
  local now = op[2] >= 0 and op[2] or server_now
  local fine, answer = pcall(KINDS[op[3]], op, op[1], now, grace_ms)
  if not fine then
    answer = { "error", type(answer) == "table" and answer.err or tostring(answer) }
    -- Not in the name of a key, which has a brace. None of the others changed anything.
    if string.find(answer[2], "^[^{]*READONLY") then
      return redis.error_reply(REPLICA)
    end
  end
  answers[n] = answer
end
return cmsgpack.pack(answers)
