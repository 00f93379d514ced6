-- Where a time lies in the log: processed_at never goes back, so halving finds it however long the log is (I14).
-- KEYS log
-- ARGV time in ms, what counts: 'from' (entries at that time or later) | 'after' (later only)
-- Returns a position: every processed entry before it does not count, every one from it on does.
-- Why a script: halving from outside would be a round trip each step.
local log, time, counts = KEYS[1], tonumber(ARGV[1]), ARGV[2]

-- processed_at and position of the first processed entry from `low` on and before `high`; nil if all of these are queued ones.
local function processed(low, high)
  local count = 1
  while low < high do
    local entries = redis.call('XRANGE', log, string.format('%.0f-0', low), string.format('%.0f-0', high - 1), 'COUNT', count)
    if #entries == 0 then return nil end
    for _, entry in ipairs(entries) do
      low = tonumber(string.match(entry[1], '^%d+'))
      for f = 1, #entry[2], 2 do
        if entry[2][f] == 'p' and entry[2][f + 1] ~= '' then return tonumber(entry[2][f + 1]), low end
      end
      low = low + 1
    end
    count = math.min(count * 4, 64)
  end
  return nil
end

local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local low, high = 1, last and tonumber(string.match(last[1], '^%d+')) + 1 or 1
while low < high do
  local middle = math.floor((low + high) / 2)
  local at, position = processed(middle, high)
  if at and (at < time or (at == time and counts == 'after')) then low = position + 1 else high = middle end
end
return low
