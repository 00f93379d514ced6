-- Creates a record and enters it in its indexes.
-- KEYS: 1 record, 2 index, 3 index of active ones, 4 history (optional)
-- ARGV: 1 record JSON, 2 index member, 3 field in the history (with KEYS 4)
-- Returns 'created', or 'exists' when the record is there already: the same call sent again changes nothing.
-- Atomic, because a record without an index entry would exist and never be listed.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 'exists'
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], 0, ARGV[2])
redis.call('ZADD', KEYS[3], 0, ARGV[2])
if KEYS[4] then
  redis.call('HSET', KEYS[4], ARGV[3], ARGV[1])
end
return 'created'
