-- Units up to 2^63 - 1 as two limbs, for a Lua number is exact only up to 2^53.
-- A value is high * 10^9 + low, with 0 <= low < 10^9.

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

-- The text of a sum that a signed 64-bit cell can hold; anything else is an error.
local function sum_of(name, high, low)
  if fits(high, low, 9223372036, 854775807) and fits(-9223372037, 145224192, high, low) then
    return text_of(high, low)
  end
  error({ err = "OVERFLOW " .. name .. " would be " .. text_of(high, low)
    .. ", beyond 64 bits" })
end

-- An instant in whole microseconds, as text. Those after the year 2255 are that year's.
local LAST_US = 9007199254740991
local function instant(us)
  return string.format("%.0f", us < LAST_US and us or LAST_US)
end
