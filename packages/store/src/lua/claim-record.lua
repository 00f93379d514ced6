-- Notes who refers to a record, if that is there and not archived.
-- KEYS: 1 record, 2 those who refer to it
-- ARGV: 1 id of the one, 2 now in ms
-- Returns 'claimed', 'missing' or 'archived'. A call sent again changes nothing but the time.
-- Atomic, because the record must not be deleted or archived between the check and the note.
local record = redis.call('GET', KEYS[1])
if not record then
  return 'missing'
end
if cjson.decode(record).archived_at ~= cjson.null then
  return 'archived'
end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
return 'claimed'
