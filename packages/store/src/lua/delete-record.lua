-- Deletes a record if it is still what the caller read, and takes it out of its indexes.
-- KEYS: 1 record, 2 index, 3 index of active ones
-- ARGV: 1 JSON as read, 2 index member
-- Returns 'deleted', or 'stale' when somebody else changed the record meanwhile. A record that is gone is 'deleted'.
-- Atomic, because an index entry without a record would be listed as a hole.
local current = redis.call('GET', KEYS[1])
if current and current ~= ARGV[1] then
  return 'stale'
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[2])
return 'deleted'
