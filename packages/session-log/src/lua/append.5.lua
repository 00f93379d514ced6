-- A worker's append: fenced by the epoch (I3), idempotent by its number in the epoch, all or nothing.
-- KEYS state, log, queue, dirty, types
-- ARGV 1 epoch, 2 n, 3 now, 4 dirty member, 5 go idle ('' no | 'idle' | the head that the worker knows: park), 6 wake at ('' or ms),
--      7 how the budget must stand: '' | 'left' | 'reached', 8 nano-dollars spent by now,
--      9 number of state fields and values, then those, 10+ number of calls and marks, then those: a call's id and 'ask' | 'custom' (it waits
--      for the client from here on), '' (it no longer does) or 'taken' (it no longer does, and must have until now),
--      then per entry six: 'e', id, type, body field, body, hidden  |  's', position, '', '', '', ''
-- Returns {1, positions, head, processed_at} applied, {2, …the same} applied before, {0} something came that the worker does not know (go
--         idle: something else is queued; park: the log went on),
--         {-1} fenced or gone, {-2} the budget does not stand so, {-3} n skips a number, {-4} a stamp names what is not queued.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return { -1 } end
local n = tonumber(ARGV[2])
local done = tonumber(redis.call('HGET', KEYS[1], 'n'))
if n == done then return { 2, unpack(cjson.decode(redis.call('HGET', KEYS[1], 'res'))) } end
if n ~= done + 1 then return { -3 } end
if ARGV[7] ~= '' then
  local cap = redis.call('HGET', KEYS[1], 'cap')
  local reached = cap ~= '' and tonumber(ARGV[8]) >= tonumber(cap)
  if reached ~= (ARGV[7] == 'reached') then return { -2 } end
end
local fields = tonumber(ARGV[9])
local calls = tonumber(ARGV[10 + fields])
local first = 11 + fields + calls
local stamps = 0
for i = first, #ARGV, 6 do
  if ARGV[i] == 's' then
    if not redis.call('LPOS', KEYS[3], ARGV[i + 1]) then return { -4 } end
    stamps = stamps + 1
  end
end
local idle, park = ARGV[5] == 'idle', ARGV[5] ~= 'idle' and ARGV[5] ~= ''
if idle and redis.call('LLEN', KEYS[3]) > stamps then return { 0 } end
-- A parked session keeps the messages that are queued behind its calls; an answer or an interrupt would have moved the head.
if park and redis.call('HGET', KEYS[1], 'seq') ~= ARGV[5] then return { 0 } end

for i = 11 + fields, first - 1, 2 do
  if ARGV[i + 1] == 'taken' and redis.call('HEXISTS', KEYS[1], 'call:' .. ARGV[i]) == 0 then return { 0 } end
end

local time = next_time(KEYS[1], ARGV[3])
local positions = {}
local idle_at
for i = first, #ARGV, 6 do
  if ARGV[i] == 's' then
    local queued = redis.call('XRANGE', KEYS[2], ARGV[i + 1] .. '-0', ARGV[i + 1] .. '-0')[1][2]
    local entry = {}
    for f = 1, #queued, 2 do entry[queued[f]] = queued[f + 1] end
    local field = entry.b and 'b' or 'r'
    positions[#positions + 1] = add(KEYS[1], KEYS[2], KEYS[5], entry.i, entry.t, 'e', time, field, entry[field], '', ARGV[i + 1])
    redis.call('LREM', KEYS[3], 1, ARGV[i + 1])
  else
    positions[#positions + 1] = add(KEYS[1], KEYS[2], KEYS[5], ARGV[i + 1], ARGV[i + 2], 'e', time, ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], '')
    if ARGV[i + 2] == 'session.status_idle' then idle_at = positions[#positions] end
  end
end
if fields > 0 then redis.call('HSET', KEYS[1], unpack(ARGV, 10, 9 + fields)) end
for i = 11 + fields, first - 1, 2 do
  local field = 'call:' .. ARGV[i]
  if ARGV[i + 1] == '' or ARGV[i + 1] == 'taken' then
    if redis.call('HDEL', KEYS[1], field) == 1 then redis.call('HINCRBY', KEYS[1], 'unanswered', -1) end
  else
    redis.call('HSET', KEYS[1], field, ARGV[i + 1])
    redis.call('HINCRBY', KEYS[1], 'unanswered', 1)
  end
end
if idle or park then
  redis.call('ZREM', KEYS[4], ARGV[4])
  redis.call('HSET', KEYS[1], 'parked', park and 1 or 0)
  -- send.lua tells it again.
  if park and idle_at then redis.call('HSET', KEYS[1], 'parked_at', idle_at .. ' ' .. redis.call('HGET', KEYS[1], 'rev')) end
end
if ARGV[6] ~= '' then redis.call('ZADD', KEYS[4], ARGV[6], ARGV[4]) end
local result = { table.concat(positions, ','), redis.call('HGET', KEYS[1], 'seq'), time }
redis.call('HSET', KEYS[1], 'n', ARGV[2], 'res', cjson.encode(result))
return { 1, unpack(result) }
