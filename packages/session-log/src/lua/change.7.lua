-- A change of the session by a client that appends events of its own: update, archive, delete.
-- KEYS state, log, rec, queue, deleted, dirty, types
-- ARGV 1 now, 2 what: update | archive | delete, 3 revision expected by an update, 4 seconds a deleted session stays readable,
--      5 member of the deleted and the dirty set, 6 new record JSON or '' (an update of the agent: only while idle),
--      7 number of state fields and values, then those, then per event: id, type, body field, body
-- Returns 1 done, 2 done and the session wants a worker (it stopped at its budget and has work again, or its log is long unfolded),
--         0 done before, -1 no such session, -2 archived, -3 running, -4 revision is stale.
-- Why atomic: record, state and the event that tells of them must agree, and no worker may start between the check and the change.
local status = redis.call('HGET', KEYS[1], 'status')
if not status or status == 'deleted' then return -1 end
local archived = redis.call('HGET', KEYS[1], 'archived_at') ~= ''
if ARGV[2] == 'update' then
  if archived then return -2 end
  if redis.call('HGET', KEYS[1], 'rev') ~= ARGV[3] then return -4 end
  if ARGV[6] ~= '' then
    if status ~= 'idle' or redis.call('LLEN', KEYS[4]) > 0 then return -3 end
    redis.call('SET', KEYS[3], ARGV[6])
  end
  redis.call('HINCRBY', KEYS[1], 'rev', 1)
else
  if status == 'running' or status == 'rescheduling' then return -3 end
  if ARGV[2] == 'archive' and archived then return 0 end
end
local fields = tonumber(ARGV[7])
if fields > 0 then redis.call('HSET', KEYS[1], unpack(ARGV, 8, 7 + fields)) end
if #ARGV > 7 + fields then
  local time = next_time(KEYS[1], ARGV[1])
  for i = 8 + fields, #ARGV, 4 do
    add(KEYS[1], KEYS[2], KEYS[7], ARGV[i], ARGV[i + 1], 'e', time, ARGV[i + 2], ARGV[i + 3], '', '')
  end
end
local wants_worker = false
if ARGV[2] == 'update' and redis.call('HGET', KEYS[1], 'capped') == '1' then
  local cap = redis.call('HGET', KEYS[1], 'cap')
  wants_worker = cap == '' or tonumber(redis.call('HGET', KEYS[1], 'spent')) < tonumber(cap)
  if wants_worker then
    redis.call('HSET', KEYS[1], 'status', 'running', 'running_since', ARGV[1], 'capped', '')
    redis.call('ZADD', KEYS[6], ARGV[1], ARGV[5])
  end
end
if ARGV[2] == 'delete' then
  -- Streams still have to read the last event; then the keys go by themselves.
  redis.call('DEL', KEYS[3], KEYS[4])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
  redis.call('EXPIRE', KEYS[2], ARGV[4])
  redis.call('EXPIRE', KEYS[7], ARGV[4])
  redis.call('ZADD', KEYS[5], ARGV[1], ARGV[5])
end
if ARGV[2] == 'update' and status == 'idle' and not wants_worker and unfolded(KEYS[1]) then
  redis.call('ZADD', KEYS[6], 'NX', ARGV[1], ARGV[5])
  wants_worker = true
end
return wants_worker and 2 or 1
