-- Units as two limbs, for a Lua number is exact only up to 2^53. A value is
-- high * 10^9 + low, with 0 <= low < 10^9: exact for the sum of 900,000 costs of 2^63 - 1.

local call = redis.call
local LIMB = 1000000000

local function split(text)
  local negative = string.byte(text) == 45
  local digits = negative and string.sub(text, 2) or text
  local high, low = 0, 0
  if #digits <= 9 then
    low = tonumber(digits)
  else
    high, low = tonumber(string.sub(digits, 1, -10)), tonumber(string.sub(digits, -9))
  end
  if not negative then
    return high, low
  elseif low == 0 then
    return -high, 0
  end
  return -high - 1, LIMB - low
end

local function plus(high, low, other_high, other_low)
  high, low = high + other_high, low + other_low
  if low >= LIMB then
    return high + 1, low - LIMB
  end
  return high, low
end

local function minus(high, low, other_high, other_low)
  high, low = high - other_high, low - other_low
  if low < 0 then
    return high - 1, low + LIMB
  end
  return high, low
end

local function fits(high, low, room_high, room_low)
  return high < room_high or (high == room_high and low <= room_low)
end

local function text_of(high, low)
  local sign = ""
  if high < 0 then
    sign = "-"
    high, low = minus(0, 0, high, low)
  end
  if high == 0 then
    return sign .. string.format("%.0f", low)
  end
  return sign .. string.format("%.0f%09.0f", high, low)
end

-- The text of what a budget has spent, which ends at 2^63 - 1 either way.
local MOST = { 9223372036, 854775807 }
local LEAST = { -9223372037, 145224193 }
local function charged(high, low)
  if not fits(high, low, MOST[1], MOST[2]) then
    high, low = MOST[1], MOST[2]
  elseif not fits(LEAST[1], LEAST[2], high, low) then
    high, low = LEAST[1], LEAST[2]
  end
  return text_of(high, low)
end

-- An instant in whole microseconds, as text. Those after the year 2255 are that year's.
local LAST_US = 9007199254740991
local function instant(us)
  return string.format("%.0f", us < LAST_US and us or LAST_US)
end
