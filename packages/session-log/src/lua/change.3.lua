-- A change of the session by a client that appends events of its own: update, archive, delete.
-- KEYS session state, due set, set of deleted sessions
-- ARGV header { what: update | archive | delete, revision (an update: the one expected), readable_seconds (of a deleted session), rate,
--      fields to set, agent: whether the record changes, which only goes while it is idle, threads: { id of the thread, event id } of
--      threads to be told terminated, event: { id, type, blob, size }, tells: whether the event is appended }, then the record's JSON or '',
--      then the body of the event
-- Returns {1, threads to wake} done, {0} done before, {-1} no such session, {-2} archived, {-3} running, {-4} revision is stale,
--         {-5} it has threads that the caller does not know.
-- Why atomic: record, state and the event that tells of them must agree, and no worker may start between the check and the change.
local session = open_session(KEYS[1])
local due_key, deleted_key = KEYS[2], KEYS[3]
local header = cjson.decode(ARGV[1])
local record, body = ARGV[2], ARGV[3]
local what, status = header.what, get(session, 'status')
if not exists(session) then return { -1 } end
local archived = get(session, 'archived_at') ~= ''
local primary = primary_of(session)
if what == 'update' then
  if archived then return { -2 } end
  if get(session, 'revision') ~= header.revision then return { -4 } end
  if header.agent then
    if status ~= 'idle' or redis.call('LLEN', primary.queue) > 0 then return { -3 } end
    redis.call('SET', session.prefix .. 'record', record)
  end
  increase(session, 'revision', 1)
else
  if number(session, 'running') > 0 then return { -3 } end
  if what == 'archive' and archived then return { 0 } end
  if what == 'archive' and #header.threads ~= #thread_ids(session) then return { -5 } end
end
for field, value in pairs(header.fields) do set(session, field, value) end
set(session, 'updated_at', session.now)
if what == 'archive' then
  for _, ended in ipairs(header.threads) do
    local thread = open_thread(session, ended.id)
    set(thread, 'status', 'terminated')
    set(thread, 'archived_at', session.now)
    local entry = { id = ended.event, type = 'session.thread_status_terminated', body = '{' .. thread_facts(thread) .. '}' }
    add_event(session, thread, entry, true)
    redis.call('ZREM', due_key, due_member(session, thread))
  end
  leave_index(session)
  set(session, 'status', 'terminated')
  set(session, 'archived_at', session.now)
  enter_index(session)
end
if header.event then
  add_event(session, primary, { id = header.event.id, type = header.event.type, blob = header.event.blob, size = header.event.size, body = body })
end
-- Raised or taken away, the budget lets every thread go on that stopped at it.
if what == 'update' and not budget_reached(session, header.rate) then
  for _, id in ipairs(thread_ids(session)) do
    local thread = open_thread(session, id)
    if get(thread, 'capped') ~= '' then give_work(session, thread, due_key) end
  end
end
if what == 'update' and get(primary, 'status') == 'idle' and wants_checkpoint(primary) then
  redis.call('ZADD', due_key, 'NX', session.now + SETTLE_MS, due_member(session, primary))
  session.wakes[#session.wakes + 1] = primary.id
end
if what == 'delete' then
  leave_index(session)
  set(session, 'status', 'deleted')
end
commit(session)
if what == 'delete' then
  -- Streams still have to read the last event; then the keys go by themselves.
  for _, id in ipairs(thread_ids(session)) do
    local thread = open_thread(session, id)
    redis.call('ZREM', due_key, due_member(session, thread))
    redis.call('DEL', thread.queue, thread.prefix .. 'record', thread.prefix .. 'shown')
    for _, key in ipairs({ thread.key, thread.log, thread.types }) do redis.call('EXPIRE', key, header.readable_seconds) end
  end
  redis.call('DEL', session.prefix .. 'record', session.prefix .. 'calls')
  redis.call('EXPIRE', session.prefix .. 'threads', header.readable_seconds)
  redis.call('EXPIRE', session.key, header.readable_seconds)
  redis.call('ZADD', deleted_key, session.now, session.id .. '|' .. get(session, 'workspace'))
end
return { 1, table.concat(session.wakes, ',') }
