-- Puts a session of 0.1.0 into this version's format. Its log keeps its entries: they are read as they are.
-- KEYS session state, due set
-- ARGV header { old: prefix of its old keys, old_dirty: the bucket's old set and member, sequence: as it was read, session and thread: fields of
--      their states, calls: fields and values }
-- Returns 1 done, 0 done before, -1 there is no such old session, -2 it has changed since it was read.
local state_key, due_key = KEYS[1], KEYS[2]
local header = cjson.decode(ARGV[1])
if redis.call('EXISTS', state_key) == 1 then return 0 end
local old = header.old
local sequence = redis.call('HGET', old .. 'state', 'seq')
if not sequence then return -1 end
if sequence ~= header.sequence then return -2 end
for field, value in pairs(header.session) do redis.call('HSET', state_key, field, value) end
local session = open_session(state_key)
local thread = primary_of(session)
for field, value in pairs(header.thread) do set(thread, field, value) end
for from, to in pairs({
  rec = session.prefix .. 'record', files = session.prefix .. 'files', log = thread.log, types = thread.types, queue = thread.queue,
}) do
  if redis.call('EXISTS', old .. from) == 1 then redis.call('RENAME', old .. from, to) end
end
redis.call('DEL', old .. 'state', old .. 'lease')
if #header.calls > 0 then redis.call('HSET', session.prefix .. 'calls', unpack(header.calls)) end
-- Interrupts that wait are counted from here on.
for _, position in ipairs(redis.call('LRANGE', thread.queue, 0, -1)) do
  local entry = redis.call('XRANGE', thread.log, position .. '-0', position .. '-0')[1]
  if entry and entry_fields(entry).t == 'user.interrupt' then increase(thread, 'interrupts', 1) end
end
enter_index(session)
local dirty, member = header.old_dirty[1], header.old_dirty[2]
if WORKING[get(thread, 'status')] or redis.call('ZSCORE', dirty, member) then
  redis.call('ZADD', due_key, session.now, due_member(session, thread))
end
redis.call('ZREM', dirty, member)
commit(session)
return 1
