-- Decides about bytes that have been pending for long: a file's, or left over.
-- KEYS: 1 record, 2 pending bytes
-- ARGV: 1 pending member, 2 latest score to decide about
-- Returns 1 when they are left over (no record will be made for them any more), 0 when they are not, or not yet.
-- Atomic, because the record may be made at this very moment.
local since = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not since or tonumber(since) > tonumber(ARGV[2]) then
  return 0
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 0
end
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 1
