-- Creates a session with its primary thread and its first events, or nothing if it exists (a resent command).
-- KEYS session state, due set
-- ARGV header { workspace, agent, agent_version, primary, agent_name, title, metadata, budget, budget_cap, traceparent,
--      files: fields and values of their hash, events: { id, type, blob, size } }, record JSON, then the body of each event
-- Returns {1, created_at} created, {0, created_at} existed.
local state_key, due_key = KEYS[1], KEYS[2]
local header, record = cjson.decode(ARGV[1]), ARGV[2]
local existing = redis.call('HGET', state_key, 'created_at')
if existing then return { 0, tonumber(existing) } end
redis.call('HSET', state_key, 'primary', header.primary, 'workspace', header.workspace, 'agent', header.agent)
local session = open_session(state_key)
for field, value in pairs({
  format = FORMAT, status = 'idle', told = 'idle', created_at = session.now, updated_at = session.now, agent_version = header.agent_version,
  title = header.title, metadata = header.metadata, budget = header.budget, budget_cap = header.budget_cap, revision = 0, sequence = 0,
}) do
  set(session, field, value)
end
local thread = primary_of(session)
for field, value in pairs({
  format = FORMAT, status = 'idle', agent_name = header.agent_name, head = 0, epoch = 0, append = 0, created_at = session.now,
  traceparent = header.traceparent or '',
}) do
  set(thread, field, value)
end
redis.call('SET', session.prefix .. 'record', record)
if #header.files > 0 then redis.call('HSET', session.prefix .. 'files', unpack(header.files)) end
enter_index(session)
for i, event in ipairs(header.events) do
  add_queued(session, thread, { id = event.id, type = event.type, blob = event.blob, size = event.size, body = ARGV[2 + i] })
end
if #header.events > 0 then give_work(session, thread, due_key) end
commit(session)
return { 1, session.now }
