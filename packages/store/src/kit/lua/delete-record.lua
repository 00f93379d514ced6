-- Deletes a record if it is still what the caller read and nobody refers to it, and takes it out of its indexes.
-- KEYS: 1 record, 2 index, 3 index of active ones, 4 those who refer to it
-- ARGV: 1 JSON as read, 2 index member, then ids among KEYS 4 that the caller knows to be gone
-- Returns 'deleted'; 'stale' when somebody else changed the record meanwhile; 'used' when somebody refers to it: then only the gone ones are
-- taken out. A record that is gone is 'deleted'.
-- Atomic, because an index entry without a record would be listed as a hole, and who comes to refer to the record must find it or keep it.
local current = redis.call('GET', KEYS[1])
if current then
  if current ~= ARGV[1] then
    return 'stale'
  end
  for i = 3, #ARGV do
    redis.call('ZREM', KEYS[4], ARGV[i])
  end
  if redis.call('ZCARD', KEYS[4]) > 0 then
    return 'used'
  end
end
redis.call('DEL', KEYS[1], KEYS[4])
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[2])
return 'deleted'
