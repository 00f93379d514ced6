-- A worker's append: fenced by the epoch (I3), idempotent by its number in the epoch, all or nothing.
-- KEYS state, log, queue, dirty
-- ARGV 1 epoch, 2 n, 3 now, 4 dirty member, 5 go idle (1|0), 6 wake at ('' or ms), 7 number of state fields and values, then those,
--      then per entry six: 'e', id, type, body field, body, hidden  |  's', position, '', '', '', ''
-- Returns {1, positions, head, processed_at} applied, {2, …the same} applied before, {0} something else is queued (go idle refused),
--         {-1} fenced or gone, {-3} n skips a number, {-4} a stamp names what is not queued.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return { -1 } end
local n = tonumber(ARGV[2])
local done = tonumber(redis.call('HGET', KEYS[1], 'n'))
if n == done then return { 2, unpack(cjson.decode(redis.call('HGET', KEYS[1], 'res'))) } end
if n ~= done + 1 then return { -3 } end
local fields = tonumber(ARGV[7])
local first = 8 + fields
local stamps = 0
for i = first, #ARGV, 6 do
  if ARGV[i] == 's' then
    if not redis.call('LPOS', KEYS[3], ARGV[i + 1]) then return { -4 } end
    stamps = stamps + 1
  end
end
if ARGV[5] == '1' and redis.call('LLEN', KEYS[3]) > stamps then return { 0 } end

local time = next_time(KEYS[1], ARGV[3])
local positions = {}
for i = first, #ARGV, 6 do
  if ARGV[i] == 's' then
    local queued = redis.call('XRANGE', KEYS[2], ARGV[i + 1] .. '-0', ARGV[i + 1] .. '-0')[1][2]
    local entry = {}
    for f = 1, #queued, 2 do entry[queued[f]] = queued[f + 1] end
    local field = entry.b and 'b' or 'r'
    positions[#positions + 1] = add(KEYS[1], KEYS[2], entry.i, entry.t, 'e', time, field, entry[field], '', ARGV[i + 1])
    redis.call('LREM', KEYS[3], 1, ARGV[i + 1])
  else
    positions[#positions + 1] = add(KEYS[1], KEYS[2], ARGV[i + 1], ARGV[i + 2], 'e', time, ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], '')
  end
end
if fields > 0 then redis.call('HSET', KEYS[1], unpack(ARGV, 8, 7 + fields)) end
if ARGV[5] == '1' then redis.call('ZREM', KEYS[4], ARGV[4]) end
if ARGV[6] ~= '' then redis.call('ZADD', KEYS[4], ARGV[6], ARGV[4]) end
local result = { table.concat(positions, ','), redis.call('HGET', KEYS[1], 'seq'), time }
redis.call('HSET', KEYS[1], 'n', ARGV[2], 'res', cjson.encode(result))
return { 1, unpack(result) }
