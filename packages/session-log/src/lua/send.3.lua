-- Appends client events, sets the state and marks threads due: the acknowledged write of a client (I1, I5).
-- KEYS session state, due set, what is remembered of the send
-- ARGV header, then the body of each event. The header (JSON):
--   is_retry, remember_seconds, rate (nano-dollars of an hour), ids (three for each answer, for events of our own), minted (the sequence number that all ids
--   carry), traceparent, events { id, type, blob, size, call (that it answers), answered_at (position of its answer if it has one already),
--   thread (an interrupt's, '' for all) }
-- Positions are those in the primary's log, which shows whatever clients send.
-- Returns {1, threads to wake, position and processed_at of each}, {2, remembered positions},
--         {-1} no such session, {-2} archived, {-3, i} event i answers a call that does not wait for this kind of answer,
--         {-4, i, calls} event i is a message and the primary thread waits for answers to these calls,
--         {-5, i} event i asks for work and the session rests at its budget, {-6, sequence} the ids carry one that is too old,
--         {-7, i} event i is for a thread that is not there.
-- Why atomic: an event without its due mark would sleep; a status without its event would lie.
-- Answers that leave other calls open need no worker: idle is told again here, with the rest, and the thread stays idle.
local session = open_session(KEYS[1])
local due_key, sent_key = KEYS[2], KEYS[3]
local header = cjson.decode(ARGV[1])
local events = header.events
if not exists(session) then return { -1 } end
-- A send is remembered by its first id and its positions: the client may repeat it, and so may a reconnecting connection.
local remembered = redis.call('GET', sent_key)
if remembered then
  local id, positions = string.match(remembered, '^([^|]*)|(.*)$')
  if header.is_retry or id == events[1].id then return { 2, positions } end
end
if get(session, 'archived_at') ~= '' then return { -2 } end
-- An event is found from the sequence number that its id carries, by a short scan.
if number(session, 'sequence') - header.minted > 500 then return { -6, number(session, 'sequence') } end

local primary = primary_of(session)

local function waits(call)
  local kind, owner = string.match(redis.call('HGET', session.prefix .. 'calls', call) or '', '^(%S+) (%S+)')
  return kind, owner
end

-- At its budget a session takes answers, and interrupts, which do nothing.
local at_cap = get(primary, 'status') == 'idle' and budget_reached(session, header.rate)

-- All or nothing: everything is checked before anything is written. The first answer to a call wins, in a request as between requests.
local answered = {}
local waiting = get(primary, 'awaiting') == '1'
local left = number(primary, 'open_calls')
for i, event in ipairs(events) do
  event.route = primary
  if event.type == 'user.interrupt' and event.thread ~= '' then
    event.route = open_thread(session, event.thread)
    if get(event.route, 'status') == '' then return { -7, i - 1 } end
  end
  if event.type == 'user.interrupt' then
    if event.route.primary then waiting = false end
  elseif event.type == 'user.message' and waiting and left > 0 then
    local calls = {}
    for _, call in ipairs(open_calls(session, primary)) do
      if not answered[call.id] then calls[#calls + 1] = call.id end
    end
    return { -4, i - 1, table.concat(calls, ',') }
  elseif at_cap and not ANSWERS[event.type] then
    return { -5, i - 1 }
  elseif event.call and not event.answered_at then
    local kind, owner = waits(event.call)
    if kind ~= ANSWERS[event.type] then return { -3, i - 1 } end
    event.route = open_thread(session, owner)
    if event.route.primary and not answered[event.call] then left = left - 1 end
    answered[event.call] = answered[event.call] or 0
  end
end

-- Threads, each once, in the order in which they were put in.
local function ordered() return { list = {}, has = {} } end
local function put(threads, thread)
  if threads.has[thread] then return end
  threads.has[thread] = true
  threads.list[#threads.list + 1] = thread
end

-- Which threads get work, which were told something that they need not work for, and which are interrupted.
local work, told, interrupted = ordered(), ordered(), ordered()
local reply = { 1, '' }
local positions = {}

local function shown(position, time)
  reply[#reply + 1] = position
  reply[#reply + 1] = time
end

-- Children at work learn of an interrupt of the session by its sequence number; it is stored in the primary's log alone.
local function interrupt_children(sequence)
  for _, id in ipairs(thread_ids(session)) do
    local thread = open_thread(session, id)
    if not thread.primary and WORKING[get(thread, 'status')] then
      set(thread, 'interrupt', sequence)
      put(interrupted, thread)
      put(work, thread)
    end
  end
end

for i, event in ipairs(events) do
  local thread = event.route
  local status = get(thread, 'status')
  local at_rest = status == 'terminated' or (status == 'idle' and not work.has[thread] and get(thread, 'awaiting') ~= '1')
  local entry = { id = event.id, type = event.type, blob = event.blob, size = event.size, body = ARGV[1 + i] }
  local position
  if event.answered_at or (event.call and answered[event.call] ~= 0) then
    -- Answered before: the stored answer is told again.
    position = event.answered_at or answered[event.call]
    shown(position, 'stored')
  elseif event.type == 'user.custom_tool_result' then
    -- Handled as soon as it is here.
    position = select(3, add_event(session, thread, entry, true))
    shown(position, next_time(session))
    put(told, thread)
  elseif event.type == 'user.interrupt' and at_rest and at_cap and number(session, 'running') == 0 then
    shown(0, next_time(session))
  elseif event.type == 'user.interrupt' and at_rest then
    -- Nothing of its own to interrupt: recorded as handled, and no work.
    local _, sequence, where = add_event(session, thread, entry, true)
    position = where
    shown(position, next_time(session))
    if event.thread == '' then interrupt_children(sequence) end
  else
    local _, sequence, where = add_queued(session, thread, entry, true)
    position = where
    shown(position, '')
    put(work, thread)
    if event.type == 'user.interrupt' then
      put(interrupted, thread)
      if event.thread == '' then interrupt_children(sequence) end
    end
  end
  if event.call and answered[event.call] == 0 then
    answered[event.call] = position
    redis.call('HDEL', session.prefix .. 'calls', event.call)
    increase(thread, 'open_calls', -1)
  end
  if position then positions[#positions + 1] = position end
end

local ids_used = 0
local function own_id()
  ids_used = ids_used + 1
  return header.ids[ids_used]
end
-- A result of a custom tool that leaves other calls of a thread at rest open is no work: the thread is told idle again.
local again = {}
for _, thread in ipairs(told.list) do
  local rests = get(thread, 'status') == 'idle' and get(thread, 'awaiting') == '1' and number(thread, 'open_calls') > 0
  if rests and not work.has[thread] then again[#again + 1] = thread else put(work, thread) end
end
for _, thread in ipairs(work.list) do
  if header.traceparent then set(thread, 'traceparent', header.traceparent) end
  if number(thread, 'open_calls') == 0 or interrupted.has[thread] then set(thread, 'awaiting', '') end
  give_work(session, thread, due_key)
  if interrupted.has[thread] then
    -- An interrupt does not wait for a back-off to pass.
    set(thread, 'wake_at', '')
    redis.call('ZADD', due_key, 'LT', session.now + SETTLE_MS, due_member(session, thread))
  end
end
for _, thread in ipairs(again) do
  local stop = requires_action(open_calls(session, thread))
  set(thread, 'stop', stop)
  tell_thread_idle(session, thread, own_id(), stop, 'null')
end
-- And so is the session, once, if all of it rests.
if #again > 0 and number(session, 'running') == 0 then tell_session_idle(session, own_id(), own_id(), header.rate) end
if #positions > 0 and get(primary, 'status') == 'idle' and wants_checkpoint(primary) then
  redis.call('ZADD', due_key, 'NX', session.now + SETTLE_MS, due_member(session, primary))
  session.wakes[#session.wakes + 1] = primary.id
end
set(session, 'updated_at', session.now)
commit(session)
for _, thread in ipairs(interrupted.list) do
  if number(thread, 'interrupt') > 0 then
    redis.call('SPUBLISH', thread.prefix .. 'feed', cjson.encode({ format = 2, interrupt = number(thread, 'interrupt') }))
  end
end
reply[2] = table.concat(session.wakes, ',')
if #positions > 0 then
  redis.call('SET', sent_key, events[1].id .. '|' .. table.concat(positions, ','), 'EX', header.remember_seconds)
end
return reply
