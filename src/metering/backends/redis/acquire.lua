-- acquire: {base, now, kind, hold id, lease_us, offer, parts}
-- A part is all that has one hash tag: {offset of its keys, version or 0, demands}.

local function decide(part, at, state, now, answer)
  for n, demand in ipairs(part[3]) do
    local value, fine = state.values[n], nil
    if is_rate(demand) then
      local due = tonumber(value or 0)
      local backlog = due > now and due - now or 0
      fine = backlog <= demand[1]
      if fine then
        state.dues[#state.dues + 1] = { KEYS[at + n], now + backlog + demand[2] }
      end
    elseif demand[4] and not value then
      answer.unseeded = true
      fine = true
    else
      local key = KEYS[at + n]
      fine = granted(demand, value or "0", state.totals[key] or "0")
      if fine and fine ~= "0" then
        state.held[#state.held + 1] = key
        state.held[#state.held + 1] = fine
      end
    end
    answer.refused = answer.refused or not (fine or demand[#demand])
    answer.states[#answer.states + 1] = told(demand, n, state, at)
  end
end

local function acquire(op, base, now, grace_ms)
  local id, parts = op[4], op[7]
  local states, answer = {}, { states = {} }
  for n, part in ipairs(parts) do
    local at = base + part[1]
    local state = read(at, part[3], part[2] > 0, id, now)
    if id ~= "" and state.hold then
      return { "again", unpack(state.hold, 4) }
    end
    if part[2] > 0 and tonumber(state.values[#part[3] + 1] or 0) > part[2] then
      return { "stale" }
    end
    state.dues, state.held = {}, {}
    decide(part, at, state, now, answer)
    states[n] = state
  end
  if answer.unseeded then
    return { "unseeded", now, answer.states }
  elseif answer.refused then
    return { "refused", now, answer.states }
  end
  for _, state in ipairs(states) do
    state.grown = grown(state.held, state.totals)
  end
  -- Nothing was written so far, and nothing can go wrong from here on.
  for n, part in ipairs(parts) do
    local state = states[n]
    if id ~= "" and #part[3] > 0 then
      local hold = { now + op[5], false, state.held, op[6], now, answer.states }
      keep(KEYS[base + part[1]], id, hold, state.grown, state.first, state.last, now,
        grace_ms)
    end
    for _, due in ipairs(state.dues) do
      if due[2] > now then
        local us = instant(due[2])
        call("SET", due[1], us, "PX", math.ceil((tonumber(us) - now) / 1000) + grace_ms)
      end
    end
  end
  return { "admitted", now, answer.states }
end
