-- Deletes the record of a file; its bytes are noted as left over, so that they go also if whoever deletes it dies before that.
-- KEYS: 1 record, 2 all files, 3 files of its scope, 4 pending bytes, 5 expiries
-- ARGV: 1 list member, 2 pending member, then members of the expiries
-- Returns 1, or 0 if there was no record.
-- Atomic, because a list entry without a record would be a hole, and bytes without either would stay for ever.
if redis.call('DEL', KEYS[1]) == 0 then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[4], 0, ARGV[2])
for i = 3, #ARGV do
  redis.call('ZREM', KEYS[5], ARGV[i])
end
return 1
