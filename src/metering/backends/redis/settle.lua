-- settle, take_back: {base, now, kind, hold id, changes}; keys: holds, done, demands ...
-- A change of a rate is {moved_us}, of a budget {cost, ledgered}.

local DONE_MS = 3600000
local LEDGERED_MS = 7 * 86400000
local BUDGET_MS = 400 * 86400000

local function move(key, moved, took, now, grace_ms)
  local due = tonumber(cells[key] or 0)
  if moved > 0 then
    put_due(key, math.max(due, now) + moved, now, grace_ms)
  elseif moved < 0 and took then
    put_due(key, due + moved, now, grace_ms)
  end
end

local function settle(op, base, now, grace_ms)
  local holds, done, id, changes = KEYS[base + 1], KEYS[base + 2], op[4], op[5]
  local record = call("HGET", holds, "@" .. id)
  local forgets = op[3] == "take_back"
  if not record and (forgets or cells[done]) then
    return "repeated"
  end
  local hold = record and unpacked(record)
  local in_time = hold and hold[1] > now
  local took = in_time and not hold[2]
  local spent = {}
  for n, change in ipairs(changes) do
    local key = KEYS[base + 2 + n]
    local value = cells[key]
    if not is_rate(change) and change[1] ~= "0" and (value or not change[2]) then
      local high, low = split(value or "0")
      spent[n] = charged(plus(high, low, split(change[1])))
    end
  end
  -- Nothing was written so far, and nothing can go wrong from here on.
  if hold then
    close(holds, id, hold)
  end
  if not forgets then
    put(done, "1", DONE_MS)
  end
  for n, change in ipairs(changes) do
    local key = KEYS[base + 2 + n]
    if spent[n] then
      put(key, spent[n], change[2] and LEDGERED_MS or BUDGET_MS)
    elseif is_rate(change) then
      move(key, change[1], took, now, grace_ms)
    end
  end
  return in_time and "settled" or "late"
end

-- renew: {base, now, kind, hold id, lease_us, offer, units}; keys: holds, done, budgets ...
local function renew(op, base, now, grace_ms)
  local holds, id, lease_until = KEYS[base + 1], op[4], now + op[5]
  local fields = { "first", "last", "@" .. id, unpack(KEYS, base + 3, base + 2 + #op[7]) }
  local values = call("HMGET", holds, unpack(fields))
  local hold = values[3] and unpacked(values[3])
  if hold and hold[1] > now then
    hold[1] = math.max(hold[1], lease_until)
    keep(holds, id, hold, {}, tonumber(values[1]), tonumber(values[2]), now, grace_ms)
    return true
  end
  if cells[KEYS[base + 2]] then
    return false
  end
  if hold then
    close(holds, id, hold)
    values = call("HMGET", holds, unpack(fields))
  end
  local held, totals = {}, {}
  for n, units in ipairs(op[7]) do
    local key = KEYS[base + 2 + n]
    held[#held + 1] = key
    held[#held + 1] = units
    totals[key] = values[n + 3] or nil
  end
  hold = { lease_until, true, held, op[6], now, false }
  keep(holds, id, hold, grown(held, totals), tonumber(values[1]), tonumber(values[2]),
    now, grace_ms)
  return false
end
