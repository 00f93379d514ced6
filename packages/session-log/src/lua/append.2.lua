-- A worker's append: fenced by the epoch (I3), idempotent by its number in the epoch, all or nothing.
-- KEYS session state, due set
-- ARGV header, then what it refers to in its order: of an event its body, and its hidden part if it has one; of a new thread its record;
--      of a message the body of the event sent and of the event received.
-- The header (JSON):
--   thread, epoch, n, rate (nano-dollars of an hour)
--   entries   { kind: 'event', id, type, blob, size, hidden, copied } | { kind: 'processed', position }
--             | { kind: 'running' | 'rescheduled', session: id, thread: id } (the events that tell of it are made here)
--   calls     { id, waits }: 'ask' | 'custom' (it waits for the client from here on), 'over' (it no longer does) or 'taken' (it no longer
--             does, and must have until now)
--   usage     what is to be added, by field; unpriced: something without a list price was used
--   budget    how it must stand: 'left' | 'reached'
--   sandbox   { generation, id, value }: the binding to set, and the one that must be there
--   uses      how many results of the sandbox are in it
--   checkpoint, checkpoint_position, failures, progress, wait_ms (not to be woken before), interrupt (handled: its sequence number)
--   threads   { id, event, agent_name, copied }; messages { to, sent, received } (ids)
--   idle      { stop, details, known, captured, silent, capped, release, ids }: the thread rests. stop 'requires_action' takes its open
--             calls; release gives the lease back in the same call
-- Returns {1, first position, head, processed_at, sequence number, positions, threads to wake, uses, session's status,
--         id of the thread's last entry} applied, {2, the same} applied before,
--         {0} something came that the worker does not know, {-1} fenced or gone, {-2} the budget does not stand so, {-3} n skips a number,
--         {-4} what is to be marked processed is not queued, {-5, uses} the outputs are not captured up to here,
--         {-6, generation, id, pool, ended at} another sandbox is bound, {-7, i} message i has no receiver, or its sender for one,
--         {-8, call} a call is to wait that is not among the entries.
local session = open_session(KEYS[1])
local due_key = KEYS[2]
local header = cjson.decode(ARGV[1])
local thread = open_own_thread(session, header.thread)
if not exists(session) or get(thread, 'epoch') ~= header.epoch or get(thread, 'status') == 'terminated' then return { -1 } end
local done = number(thread, 'append')
if header.n == done then return { 2, unpack(cjson.decode(get(thread, 'append_result'))) } end
if header.n ~= done + 1 then return { -3 } end
if header.budget and budget_reached(session, header.rate) ~= (header.budget == 'reached') then return { -2 } end

local processed, taken, made = 0, {}, {}
for _, entry in ipairs(header.entries) do
  if entry.kind == 'processed' then
    if taken[entry.position] or not redis.call('LPOS', thread.queue, entry.position) then return { -4 } end
    taken[entry.position] = true
    processed = processed + 1
  elseif entry.kind == 'event' then
    made[entry.id] = true
  end
end
for _, call in ipairs(header.calls or {}) do
  if (call.waits == 'ask' or call.waits == 'custom') and not made[call.id] then return { -8, call.id } end
  if call.waits == 'taken' and redis.call('HEXISTS', session.prefix .. 'calls', call.id) == 0 then return { 0 } end
end
local sandbox = header.sandbox
if sandbox and (number(session, 'sandbox_generation') ~= sandbox.generation or get(session, 'sandbox_id') ~= sandbox.id) then
  return {
    -6, number(session, 'sandbox_generation'), get(session, 'sandbox_id'), get(session, 'sandbox_pool'), get(session, 'sandbox_ended_at'),
  }
end
local handled = header.interrupt and header.interrupt >= number(thread, 'interrupt')
local threads, messages = header.threads or {}, header.messages or {}
if #threads + #messages > 0 then
  -- What an interrupt is to stop must not spread first.
  if number(thread, 'interrupts') > 0 or (number(thread, 'interrupt') > 0 and not handled) then return { 0 } end
  local born = {}
  for _, new in ipairs(threads) do born[new.id] = true end
  for i, message in ipairs(messages) do
    local status = born[message.to] and 'idle' or get(open_thread(session, message.to), 'status')
    if status == '' or status == 'terminated' or message.to == thread.id then return { -7, i - 1 } end
  end
end
local idle = header.idle
if idle then
  if idle.stop == 'requires_action' then
    -- A thread that waits for its client keeps the messages that are queued behind its calls; what is new to it refuses the parking.
    if number(thread, 'last_own') > idle.known then return { 0 } end
  elseif redis.call('LLEN', thread.queue) > processed then
    return { 0 }
  end
  if number(thread, 'interrupt') > 0 and not handled then return { 0 } end
  local last = number(session, 'running') == (WORKING[get(thread, 'status')] and 1 or 0) and #messages == 0
  local uses = number(session, 'sandbox_uses') + (header.uses or 0)
  if last and not idle.silent and idle.captured ~= uses then return { -5, uses } end
end

-- Of what this call added; '' if that is nothing.
local function last_id(thread)
  local entry = thread.added[#thread.added]
  return entry and entry.id or ''
end

-- The thread made progress or rests: earlier tries count no longer.
local function forget_tries()
  set(thread, 'recoveries', 0)
  set(thread, 'exceptions', 0)
  set(thread, 'retries', 0)
end

local next_argument = 1
local function argument()
  next_argument = next_argument + 1
  return ARGV[next_argument]
end
local function event_of(entry)
  return { id = entry.id, type = entry.type, blob = entry.blob, size = entry.size, body = argument(), hidden = entry.hidden and argument() or '' }
end

local time = next_time(session)
local first = number(thread, 'head') + 1
local positions, sequences = {}, {}
for i, entry in ipairs(header.entries) do
  if entry.kind == 'processed' then
    positions[i] = mark_processed(session, thread, text(entry.position))
  elseif entry.kind == 'running' then
    positions[i] = tell_running(session, thread, entry.session, entry.thread)
  elseif entry.kind == 'rescheduled' then
    positions[i] = tell_rescheduled(session, thread, entry.session, entry.thread)
  else
    positions[i], sequences[entry.id] = add_event(session, thread, event_of(entry), entry.copied)
  end
end
for _, call in ipairs(header.calls or {}) do
  if call.waits == 'taken' or call.waits == 'over' then
    if redis.call('HDEL', session.prefix .. 'calls', call.id) == 1 then increase(thread, 'open_calls', -1) end
  else
    redis.call('HSET', session.prefix .. 'calls', call.id, call.waits .. ' ' .. thread.id .. ' ' .. text(sequences[call.id]))
    increase(thread, 'open_calls', 1)
  end
end
for field, by in pairs(header.usage or {}) do
  increase(session, 'usage_' .. field, by)
  increase(thread, 'usage_' .. field, by)
end
if header.unpriced then
  set(session, 'unpriced', '1')
  set(thread, 'unpriced', '1')
end
if sandbox then
  set(session, 'sandbox_generation', sandbox.value.generation)
  set(session, 'sandbox_id', sandbox.value.id)
  set(session, 'sandbox_pool', sandbox.value.pool)
  -- Kept when another is bound: what was asked for before it is not looked for there.
  if sandbox.value.id == '' then set(session, 'sandbox_ended_at', number(session, 'sequence')) end
end
if header.uses then increase(session, 'sandbox_uses', header.uses) end
if header.checkpoint then
  set(thread, 'checkpoint', header.checkpoint)
  set(thread, 'checkpoint_position', header.checkpoint_position)
  -- Behind it lie at most its own entries since the checkpoint before; copies are nothing to fold.
  local behind = math.min(number(thread, 'uncheckpointed'), number(thread, 'last_own') - header.checkpoint_position)
  set(thread, 'uncheckpointed', math.max(0, behind))
end
if header.failures then set(thread, 'failures', header.failures) end
if header.progress then forget_tries() end
if header.wait_ms then set(thread, 'wake_at', session.now + header.wait_ms) end
if handled then set(thread, 'interrupt', 0) end

for _, new in ipairs(threads) do
  local child = open_thread(session, new.id)
  local _, sequence = add_event(session, thread, {
    id = new.event, type = 'session.thread_created',
    body = '{"session_thread_id":"' .. new.id .. '","agent_name":' .. new.agent_name .. ',"workflow_run_id":null}',
  }, true)
  for field, value in pairs({
    format = FORMAT, parent = thread.id, agent_name = new.agent_name, status = 'idle', head = 0, epoch = 0, created_at = session.now,
  }) do
    set(child, field, value)
  end
  redis.call('SET', child.prefix .. 'record', argument())
  redis.call('ZADD', session.prefix .. 'threads', sequence, new.id)
  increase(session, 'children', 1)
end
for _, message in ipairs(messages) do
  local receiver = open_thread(session, message.to)
  add_event(session, thread, { id = message.sent, type = 'agent.thread_message_sent', body = argument() })
  add_queued(session, receiver, { id = message.received, type = 'agent.thread_message_received', body = argument() })
  give_work(session, receiver, due_key)
end

if idle then
  local stop = idle.stop == 'requires_action' and requires_action(open_calls(session, thread)) or idle.stop
  set(thread, 'awaiting', idle.stop == 'requires_action' and '1' or '')
  set(thread, 'capped', idle.capped and '1' or '')
  set(thread, 'stop', stop)
  set(thread, 'stop_details', idle.details)
  set(thread, 'failures', 0)
  forget_tries()
  set_thread_status(session, thread, 'idle')
  if not idle.silent then tell_thread_idle(session, thread, idle.ids[1], stop, idle.details) end
  if number(session, 'running') == 0 and (not idle.silent or get(session, 'told') ~= 'idle') then
    tell_session_idle(session, idle.ids[2], idle.ids[3], header.rate)
  end
  -- All that is left at work may be waiting to try again.
  tell_session_rescheduled(session, idle.ids[3])
  if idle.release then
    clear_lease(thread)
    redis.call('ZREM', due_key, due_member(session, thread))
  end
end
set(session, 'updated_at', session.now)
set(thread, 'updated_at', session.now)
local result = {
  first, number(thread, 'head'), time, number(session, 'sequence'), table.concat(positions, ','), table.concat(session.wakes, ','),
  number(session, 'sandbox_uses'), get(session, 'status'), last_id(thread),
}
set(thread, 'append', header.n)
set(thread, 'append_result', cjson.encode(result))
commit(session)
return { 1, unpack(result) }
