-- acquire: {base, now, kind, hold id, lease_us, offer, parts}
-- A part is all that has one hash tag: {offset of its keys, version or 0, demands}.

local function decide(part, at, state, now, answer)
  local demands, dues, held = part[3], state.dues, state.held
  for n = 1, #demands do
    local demand, key, fine = demands[n], KEYS[at + n], true
    local value = cells[key]
    if is_rate(demand) then
      local due = tonumber(value or 0)
      local backlog = due > now and due - now or 0
      fine = backlog <= demand[1]
      if fine then
        dues[#dues + 1] = key
        dues[#dues + 1] = now + backlog + demand[2]
      end
    elseif demand[4] and not value then
      answer.unseeded = true
    else
      fine = granted(demand, value or "0", state.totals[key] or "0")
      if fine and fine ~= "0" then
        held[#held + 1] = key
        held[#held + 1] = fine
      end
    end
    answer.refused = answer.refused or not (fine or demand[#demand])
    answer.states[#answer.states + 1] = told(demand, key, state)
  end
end

local function acquire(op, base, now, grace_ms)
  local id, parts = op[4], op[7]
  local states, answer = {}, { states = {} }
  for n, part in ipairs(parts) do
    local at = base + part[1]
    local state = read(at, part[3], id, now)
    if id ~= "" and state.hold then
      return { "again", unpack(state.hold, 4) }
    end
    if part[2] > 0 and tonumber(cells[KEYS[at + #part[3] + 1]] or 0) > part[2] then
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
    state.grown = #state.held > 0 and grown(state.held, state.totals) or {}
  end
  -- Nothing was written so far, and nothing can go wrong from here on.
  for n, part in ipairs(parts) do
    local state = states[n]
    if id ~= "" and #part[3] > 0 then
      local hold = { now + op[5], false, state.held, op[6], now, answer.states }
      keep(KEYS[base + part[1]], id, hold, state.grown, state.first, state.last, now,
        grace_ms)
    end
    for at = 1, #state.dues, 2 do
      put_due(state.dues[at], state.dues[at + 1], now, grace_ms)
    end
  end
  return { "admitted", now, answer.states }
end
