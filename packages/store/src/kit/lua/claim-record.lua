-- Notes who refers to a record, if that is there and not archived.
-- KEYS: 1 record, 2 those who refer to it
-- ARGV: 1 id of the one, 2 now in ms, 3 the newest format of records that the caller knows
-- Returns 'claimed', 'missing' or 'archived'; 'newer' when the record names another format. A call sent again changes nothing but the time.
-- Atomic, because the record must not be deleted or archived between the check and the note.
local record = redis.call('GET', KEYS[1])
if not record then
  return 'missing'
end
record = cjson.decode(record)
local format = record.format
if format ~= nil and (type(format) ~= 'number' or format < 1 or format > tonumber(ARGV[3])) then
  return 'newer'
end
if record.archived_at ~= cjson.null then
  return 'archived'
end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
return 'claimed'
