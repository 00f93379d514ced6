-- Creates a session with its first events, or nothing if it exists (a resent command).
-- KEYS rec, state, log, queue, dirty, files, types
-- ARGV 1 record JSON, 2 now, 3 dirty member, 4 number of fields and values of the files, then those, 5+ number of state fields and values,
--      then those, then per event: id, type, body field, body
-- Returns 1 created, 0 existed.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
local files = tonumber(ARGV[4])
for i = 5, 4 + files, 2 do redis.call('HSET', KEYS[6], ARGV[i], ARGV[i + 1]) end
local fields = tonumber(ARGV[5 + files])
redis.call('HSET', KEYS[2], unpack(ARGV, 6 + files, 5 + files + fields))
local first = 6 + files + fields
for i = first, #ARGV, 4 do
  local position = add(KEYS[2], KEYS[3], KEYS[7], ARGV[i], ARGV[i + 1], 'q', '', ARGV[i + 2], ARGV[i + 3], '', '')
  redis.call('RPUSH', KEYS[4], position)
end
if #ARGV >= first then
  redis.call('HSET', KEYS[2], 'status', 'running', 'running_since', ARGV[2])
  redis.call('ZADD', KEYS[5], ARGV[2], ARGV[3])
end
return 1
