-- All holds of one hash tag are one hash: it is lost whole or not at all.
--   @<hold id>   when its lease ends, in 16 digits, and a record:
--                  {until_us, brought_back, held, offer, now_us, states};
--                  one that was brought back has no states
--   <spent key>  what the running holds have of that budget, together
--   first        no lease ends before: never late, though it may be early
--   last         the hash may expire then; it is moved in steps, to save commands
-- `held` is a list: spent key, units, spent key, units ...

local STEP_US = 60000000

local function expire_at_us(holds, us, now, grace_ms)
  call("PEXPIRE", holds, math.ceil((us - now) / 1000) + grace_ms)
end

local function packed(hold)
  return string.format("%016.0f", hold[1]) .. cmsgpack.pack(hold)
end

local function unpacked(text)
  return cmsgpack.unpack(string.sub(text, 17))
end

-- Remove records, and what they held from the totals.
local function give_back(holds, gone, held)
  local keys, highs, lows, kept = {}, {}, {}, {}
  for at = 1, #held, 2 do
    local key = held[at]
    if not highs[key] then
      keys[#keys + 1], highs[key], lows[key] = key, 0, 0
    end
    highs[key], lows[key] = plus(highs[key], lows[key], split(held[at + 1]))
  end
  local totals = #keys > 0 and call("HMGET", holds, unpack(keys)) or {}
  for n, key in ipairs(keys) do
    local high, low = split(totals[n] or "0")
    high, low = minus(high, low, highs[key], lows[key])
    if high == 0 and low == 0 then
      gone[#gone + 1] = key
    else
      kept[#kept + 1] = key
      kept[#kept + 1] = text_of(high, low)
    end
  end
  for from = 1, #gone, 1000 do
    call("HDEL", holds, unpack(gone, from, math.min(from + 999, #gone)))
  end
  if #kept > 0 then
    call("HSET", holds, unpack(kept))
  end
end

local function close(holds, id, hold)
  give_back(holds, { "@" .. id }, hold[3])
end

-- End the holds whose lease is over. Return how many ended and how many still run.
local function expire(holds, now)
  local fields = call("HGETALL", holds)
  local over, held, running, first = {}, {}, 0, 0
  for at = 1, #fields, 2 do
    local name = fields[at]
    if string.byte(name) == 64 then
      local lease_until = tonumber(string.sub(fields[at + 1], 1, 16))
      if lease_until > now then
        running = running + 1
        first = (first == 0 or lease_until < first) and lease_until or first
      else
        over[#over + 1] = name
        for _, unit in ipairs(unpacked(fields[at + 1])[3]) do
          held[#held + 1] = unit
        end
      end
    end
  end
  local ended = #over
  if running == 0 then
    call("DEL", holds)
  else
    give_back(holds, over, held)
    call("HSET", holds, "first", instant(first))
  end
  return ended, running
end

-- Keep a hold that was opened or renewed. `totals` are those that have grown by it.
local function keep(holds, id, hold, totals, first, last, now, grace_ms)
  local written = { "@" .. id, packed(hold), unpack(totals) }
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
    sums[at + 1] = text_of(plus(high, low, split(held[at + 1])))
  end
  return sums
end
