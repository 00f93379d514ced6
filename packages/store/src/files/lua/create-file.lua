-- Makes the record of a file whose bytes are durable, and enters it in its lists.
-- KEYS: 1 record, 2 all files, 3 files of its scope, 4 pending bytes, 5 expiries
-- ARGV: 1 record JSON, 2 list member, 3 is it scoped (1|0), 4 pending member, then per expiry: score, member
-- Returns 'created', 'exists' when the record is there already (a command sent again), 'lost' when a sweep took the bytes for left over.
-- Atomic, because from the record on nobody may take the bytes away, and before it anybody may.
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('ZREM', KEYS[4], ARGV[4])
  return 'exists'
end
local since = redis.call('ZSCORE', KEYS[4], ARGV[4])
if not since or tonumber(since) == 0 then
  return 'lost'
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], 0, ARGV[2])
if ARGV[3] == '1' then
  redis.call('ZADD', KEYS[3], 0, ARGV[2])
end
for i = 5, #ARGV, 2 do
  redis.call('ZADD', KEYS[5], ARGV[i], ARGV[i + 1])
end
redis.call('ZREM', KEYS[4], ARGV[4])
return 'created'
