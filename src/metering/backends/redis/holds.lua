-- All holds of one hash tag are one hash: it is lost whole or not at all.
--   @<hold id>   a record: {until_us, brought_back, held, offer, now_us, states};
--                  one that was brought back has no states
--   <spent key>  what the running holds have of that budget, together
--   first        no lease ends before: never late, though it may be early
--   last         the hash may expire then; it is moved in steps, to save commands
-- `held` is a list: spent key, units, spent key, units ...

local STEP_US = 60000000

local function expire_at_us(holds, us, now, grace_ms)
  call("PEXPIRE", holds, math.ceil((us - now) / 1000) + grace_ms)
end

-- End the holds whose lease is over. Return how many ended and how many still run.
local function expire(holds, now)
  local fields = call("HGETALL", holds)
  local over, running, first = {}, 0, 0
  local highs, lows, old = {}, {}, {}
  for at = 1, #fields, 2 do
    local name = fields[at]
    if string.byte(name) == 64 then
      local hold = cmsgpack.unpack(fields[at + 1])
      if hold[1] <= now then
        over[#over + 1] = name
      else
        running = running + 1
        first = (first == 0 or hold[1] < first) and hold[1] or first
        for unit = 1, #hold[3], 2 do
          local key = hold[3][unit]
          local high, low = split(hold[3][unit + 1])
          highs[key], lows[key] = plus(highs[key] or 0, lows[key] or 0, high, low)
        end
      end
    elseif name ~= "first" and name ~= "last" then
      old[#old + 1] = name
    end
  end
  if running == 0 then
    call("DEL", holds)
    return #over, 0
  end
  for from = 1, #over, 1000 do
    call("HDEL", holds, unpack(over, from, math.min(from + 999, #over)))
  end
  for _, key in ipairs(old) do
    if highs[key] then
      call("HSET", holds, key, text_of(highs[key], lows[key]))
    else
      call("HDEL", holds, key)
    end
  end
  call("HSET", holds, "first", instant(first))
  return #over, running
end

-- Keep a hold that was opened or renewed. `totals` are those that have grown by it.
local function keep(holds, id, hold, totals, first, last, now, grace_ms)
  local written = { "@" .. id, cmsgpack.pack(hold), unpack(totals) }
  if not first or hold[1] < first then
    written[#written + 1] = "first"
    written[#written + 1] = instant(hold[1])
  end
  local moved = not last or hold[1] > last
  if moved then
    last = hold[1] + STEP_US
    written[#written + 1] = "last"
    written[#written + 1] = instant(last)
  end
  call("HSET", holds, unpack(written))
  if moved then
    expire_at_us(holds, last, now, grace_ms)
  end
end

-- What the budgets of a list of holdings have held, together with these.
local function grown(held, totals)
  local sums = {}
  for at = 1, #held, 2 do
    local key = held[at]
    local high, low = split(totals[key] or "0")
    sums[at] = key
    sums[at + 1] = sum_of(key, plus(high, low, split(held[at + 1])))
  end
  return sums
end

-- End one hold: give back what it has of budgets.
local function close(holds, id, hold)
  local gone, kept = { "@" .. id }, {}
  for at = 1, #hold[3], 2 do
    local key = hold[3][at]
    local high, low = split(call("HGET", holds, key) or "0")
    high, low = minus(high, low, split(hold[3][at + 1]))
    if high == 0 and low == 0 then
      gone[#gone + 1] = key
    else
      kept[#kept + 1] = key
      kept[#kept + 1] = text_of(high, low)
    end
  end
  call("HDEL", holds, unpack(gone))
  if #kept > 0 then
    call("HSET", holds, unpack(kept))
  end
end
