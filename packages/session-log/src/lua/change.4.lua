-- A change of the session by a client that appends events of its own: update, archive, delete.
-- KEYS state, log, rec, queue
-- ARGV 1 now, 2 what: update | archive | delete, 3 revision expected by an update, 4 seconds a deleted session stays readable,
--      5 number of state fields and values, then those, then per event: id, type, body
-- Returns 1 done, 0 done before, -1 no such session, -2 archived, -3 running, -4 revision is stale.
local status = redis.call('HGET', KEYS[1], 'status')
if not status or status == 'deleted' then return -1 end
local archived = redis.call('HGET', KEYS[1], 'archived_at') ~= ''
if ARGV[2] == 'update' then
  if archived then return -2 end
  if redis.call('HGET', KEYS[1], 'rev') ~= ARGV[3] then return -4 end
  redis.call('HINCRBY', KEYS[1], 'rev', 1)
else
  if status == 'running' or status == 'rescheduling' then return -3 end
  if ARGV[2] == 'archive' and archived then return 0 end
end
local fields = tonumber(ARGV[5])
if fields > 0 then redis.call('HSET', KEYS[1], unpack(ARGV, 6, 5 + fields)) end
if #ARGV > 5 + fields then
  local time = next_time(KEYS[1], ARGV[1])
  for i = 6 + fields, #ARGV, 3 do
    add(KEYS[1], KEYS[2], ARGV[i], ARGV[i + 1], 'e', time, 'b', ARGV[i + 2], '', '')
  end
end
if ARGV[2] == 'delete' then
  -- Streams still have to read the last event; then the keys go by themselves.
  redis.call('DEL', KEYS[3], KEYS[4])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
  redis.call('EXPIRE', KEYS[2], ARGV[4])
end
return 1
