-- Replaces a record if it is still what the caller read.
-- KEYS: 1 record, 2 index of active ones, 3 history (optional)
-- ARGV: 1 JSON as read, 2 new JSON, 3 member to take out of the active index or '', 4 field in the history (with KEYS 3)
-- Returns 'swapped', 'stale' when somebody else changed the record meanwhile, 'missing' when it is gone.
-- A call sent again finds its own JSON in place and answers 'swapped'.
-- Atomic, because compare and set must be one step, and record, history and index must agree.
local current = redis.call('GET', KEYS[1])
if not current then
  return 'missing'
end
if current == ARGV[2] then
  return 'swapped'
end
if current ~= ARGV[1] then
  return 'stale'
end
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[3] ~= '' then
  redis.call('ZREM', KEYS[2], ARGV[3])
end
if KEYS[3] then
  redis.call('HSET', KEYS[3], ARGV[4], ARGV[2])
end
return 'swapped'
