-- One bucket's part of a page of sessions: members of several lists by creation time and id, in one order, behind a place.
-- KEYS any key of the bucket
-- ARGV 'asc' | 'desc', lowest and highest time ('-inf', '(5', …), time and id of the place to go on behind ('' for none), how many,
--      then the lists
-- Returns ids and times, at most as many as asked for.
local order, low, high = ARGV[1], ARGV[2], ARGV[3]
local place_time, place_id, count = ARGV[4], ARGV[5], tonumber(ARGV[6])
local ascending = order == 'asc'
if place_time ~= '' then
  if ascending then low = place_time else high = place_time end
end
local found = {}
for i = 7, #ARGV do
  local offset, taken = 0, 0
  -- Members of the place's own millisecond may be before it.
  while taken < count do
    local step = count + 1
    local flat = ascending and redis.call('ZRANGEBYSCORE', ARGV[i], low, high, 'WITHSCORES', 'LIMIT', offset, step)
      or redis.call('ZREVRANGEBYSCORE', ARGV[i], high, low, 'WITHSCORES', 'LIMIT', offset, step)
    for m = 1, #flat, 2 do
      local id, time = flat[m], flat[m + 1]
      local behind = place_time == '' or time ~= place_time or (ascending and id > place_id) or (not ascending and id < place_id)
      if behind and taken < count then
        found[#found + 1] = { id, time }
        taken = taken + 1
      end
    end
    if #flat < step * 2 then break end
    offset = offset + step
  end
end
table.sort(found, function(a, b)
  local one, other = tonumber(a[2]), tonumber(b[2])
  if one ~= other then return (one < other) == ascending end
  return a[1] ~= b[1] and (a[1] < b[1]) == ascending
end)
local answer = {}
for i = 1, math.min(count, #found) do
  answer[#answer + 1] = found[i][1]
  answer[#answer + 1] = found[i][2]
end
return answer
