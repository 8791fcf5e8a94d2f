-- The state of quotas. Verdicts are made of it in Python, by the pure rules: what is
-- decided here is only whether a demand fits.
--
-- A demand on a rate is {slack_us, span_us, shadow}: it fits while the backlog is at
-- most `slack_us`, and then adds `span_us`. One on a budget is
-- {amount, cost, cost_min, ledgered, shadow}, with units as text.

local function is_rate(demand)
  return type(demand[1]) == "number"
end

-- Read what a part of a call needs of the holds. Its keys are: holds, demands ...
local function read(at, demands, id, now)
  local fields = { "first", "last", "@" .. id }
  for n = 1, #demands do
    if not is_rate(demands[n]) then
      fields[#fields + 1] = KEYS[at + n]
    end
  end
  local state = { totals = {} }
  if id ~= "" or #fields > 3 then
    local holds = KEYS[at]
    local values = call("HMGET", holds, unpack(fields))
    if values[1] and tonumber(values[1]) <= now then
      expire(holds, now)
      values = call("HMGET", holds, unpack(fields))
    end
    state.first, state.last = tonumber(values[1]), tonumber(values[2])
    state.hold = values[3] and unpacked(values[3])
    for n = 4, #fields do
      state.totals[fields[n]] = values[n] or nil
    end
  end
  return state
end

-- What is told of a quota: the due instant of a rate; of a budget what was spent (false:
-- unknown), what is held, and when the first lease may end.
local function told(demand, key, state)
  if is_rate(demand) then
    return tonumber(cells[key] or 0)
  end
  return { cells[key], state.totals[key] or "0", state.first or 0 }
end

-- Units that a budget grants, as text; nil if it refuses.
local function granted(demand, spent, held)
  local high, low = split(demand[1])
  high, low = minus(high, low, split(spent))
  high, low = minus(high, low, split(held))
  local cost_high, cost_low = split(demand[2])
  if fits(cost_high, cost_low, high, low) then
    return demand[2]
  end
  local least_high, least_low = split(demand[3])
  if fits(least_high, least_low, high, low) then
    return text_of(high, low)
  end
  return nil
end
