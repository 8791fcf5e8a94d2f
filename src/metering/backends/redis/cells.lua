-- What is kept as a string is read once for all operations of a batch, with one command.

local cells = {}

local function fetch_all()
  for from = 1, #KEYS, 4000 do
    local to = math.min(from + 3999, #KEYS)
    local values = call("MGET", unpack(KEYS, from, to))
    for at = from, to do
      cells[KEYS[at]] = values[at - from + 1]
    end
  end
end

local function put(key, value, life_ms)
  call("SET", key, value, "PX", life_ms)
  cells[key] = value
end

local function drop(key)
  if cells[key] then
    call("DEL", key)
    cells[key] = false
  end
end

-- Keep the instant at which a rate is whole again, until then.
local function put_due(key, due, now, grace_ms)
  if due > now then
    local us = instant(due)
    put(key, us, math.ceil((tonumber(us) - now) / 1000) + grace_ms)
  else
    drop(key)
  end
end
