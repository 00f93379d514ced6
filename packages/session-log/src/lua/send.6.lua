-- Appends client events, sets the state and marks the session dirty: the acknowledged write of a client (I1, I5).
-- KEYS state, log, queue, dirty, sent, types
-- ARGV 1 now, 2 dirty member, 3 is the client trying again (1|0), 4 seconds to remember the send, 5 three ids for events of our own,
--      6 the head that all ids carry,
--      then per event six: id, type, body field, body, call that it answers ('' none), position of its answer if it has one already ('' no)
-- Returns {1, starts work (1|0: a session at work has its worker already), position and processed_at of each}, {2, remembered positions},
--         {-1} no such session, {-2} archived, {-3, n} event n answers a call that does not wait for this kind of answer,
--         {-4, n, calls} event n is a message and the session waits for answers to these calls,
--         {-5, n} event n asks for work and the session rests at its budget, {-6, head} the ids carry a head that is too old.
-- Why atomic: an event without its dirty mark would sleep; a status without its event would lie.
-- Results that leave other calls of a parked session open need no worker: idle is told again here, with the rest, and the session stays idle.
local FIRST = 7
local IDLE = { 'session.thread_status_idle', 'session.usage', 'session.status_idle' }

-- The last idle of a parked session, told again with the calls that still wait. False if it has to be made anew.
local function tell_idle_again(state, log, types, left, time, ids)
  local position, revision = string.match(redis.call('HGET', state, 'parked_at') or '', '^(%d+) (%d+)$')
  -- What the session's usage tells of its budget may have changed.
  if not position or redis.call('HGET', state, 'rev') ~= revision then return false end
  local last = redis.call('XRANGE', log, string.format('%.0f-0', position - 2), position .. '-0')
  local bodies, rest = {}, {}
  for i, entry in ipairs(last) do
    local fields = {}
    for f = 1, #entry[2], 2 do fields[entry[2][f]] = entry[2][f + 1] end
    if fields.t ~= IDLE[i] or not fields.b then return false end
    bodies[i] = fields.b
  end
  if #bodies ~= #IDLE then return false end
  for id in string.gmatch(string.match(bodies[3], '"event_ids":%[([^%]]*)%]') or '', '"([^"]+)"') do
    if redis.call('HEXISTS', state, 'call:' .. id) == 1 then rest[#rest + 1] = '"' .. id .. '"' end
  end
  if #rest ~= left then return false end
  local list = '"event_ids":[' .. table.concat(rest, ',') .. ']'
  local i = 0
  for id in string.gmatch(ids, '[^,]+') do
    i = i + 1
    position = add(state, log, types, id, IDLE[i], 'e', time, 'b', (string.gsub(bodies[i], '"event_ids":%[[^%]]*%]', list)), '', '')
  end
  redis.call('HSET', state, 'parked_at', position .. ' ' .. revision)
  return true
end

local status = redis.call('HGET', KEYS[1], 'status')
if not status or status == 'deleted' then return { -1 } end
-- A send is remembered by its first id and its positions: the client may repeat it, and so may a reconnecting connection.
local remembered = redis.call('GET', KEYS[5])
if remembered then
  local id, positions = string.match(remembered, '^([^|]*)|(.*)$')
  if ARGV[3] == '1' or id == ARGV[FIRST] then return { 2, positions } end
end
if redis.call('HGET', KEYS[1], 'archived_at') ~= '' then return { -2 } end
-- An event is found from the head that its id carries, by a short scan.
local head = redis.call('HGET', KEYS[1], 'seq')
if tonumber(head) - tonumber(ARGV[6]) > 500 then return { -6, head } end

local ANSWERS = { ['user.tool_confirmation'] = 'ask', ['user.custom_tool_result'] = 'custom' }
local parked = redis.call('HGET', KEYS[1], 'parked') == '1'
-- At its budget a session takes answers, and interrupts, which do nothing.
local cap = redis.call('HGET', KEYS[1], 'cap')
local at_cap = status == 'idle' and cap ~= '' and tonumber(redis.call('HGET', KEYS[1], 'spent')) >= tonumber(cap)
local unanswered = tonumber(redis.call('HGET', KEYS[1], 'unanswered') or '0')

-- All or nothing: everything is checked before anything is written. The first answer to a call wins, in a request as between requests.
local answered = {}
local waiting = parked
local left = unanswered
for i = FIRST, #ARGV, 6 do
  local type, call = ARGV[i + 1], ARGV[i + 4]
  if type == 'user.interrupt' then
    waiting = false
  elseif type == 'user.message' and waiting and left > 0 then
    local calls = {}
    for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
      local id = string.match(field, '^call:(.*)$')
      if id and not answered[id] then calls[#calls + 1] = id end
    end
    return { -4, (i - FIRST) / 6, table.concat(calls, ',') }
  elseif at_cap and not ANSWERS[type] then
    return { -5, (i - FIRST) / 6 }
  elseif call ~= '' and ARGV[i + 5] == '' then
    if redis.call('HGET', KEYS[1], 'call:' .. call) ~= ANSWERS[type] then return { -3, (i - FIRST) / 6 } end
    if not answered[call] then left = left - 1 end
    answered[call] = 0
  end
end

local reply = { 1, 0 }
local positions = {}
local time
local work = false
local queued = false
local interrupted = false
for i = FIRST, #ARGV, 6 do
  local type, call = ARGV[i + 1], ARGV[i + 4]
  local at_rest = status == 'idle' and not parked and redis.call('LLEN', KEYS[3]) == 0
  local position
  if ARGV[i + 5] ~= '' or (answered[call] or 0) > 0 then
    -- Answered before: the stored answer is told again.
    position = ARGV[i + 5] ~= '' and ARGV[i + 5] or answered[call]
    reply[#reply + 1] = position
    reply[#reply + 1] = 'stored'
  elseif type == 'user.custom_tool_result' then
    -- Handled as soon as it is here.
    time = time or next_time(KEYS[1], ARGV[1])
    position = add(KEYS[1], KEYS[2], KEYS[6], ARGV[i], type, 'e', time, ARGV[i + 2], ARGV[i + 3], '', '')
    reply[#reply + 1] = position
    reply[#reply + 1] = time
    work = true
  elseif type == 'user.interrupt' and at_rest and at_cap then
    reply[#reply + 1] = 0
    reply[#reply + 1] = time or next_time(KEYS[1], ARGV[1])
  elseif type == 'user.interrupt' and at_rest then
    -- Nothing to interrupt: recorded as handled, and no work.
    time = time or next_time(KEYS[1], ARGV[1])
    position = add(KEYS[1], KEYS[2], KEYS[6], ARGV[i], ARGV[i + 1], 'e', time, ARGV[i + 2], ARGV[i + 3], '', '')
    reply[#reply + 1] = position
    reply[#reply + 1] = time
  else
    position = add(KEYS[1], KEYS[2], KEYS[6], ARGV[i], ARGV[i + 1], 'q', '', ARGV[i + 2], ARGV[i + 3], '', '')
    redis.call('RPUSH', KEYS[3], position)
    reply[#reply + 1] = position
    reply[#reply + 1] = ''
    work = true
    queued = true
    interrupted = interrupted or type == 'user.interrupt'
  end
  if call ~= '' and answered[call] == 0 then
    answered[call] = position
    redis.call('HDEL', KEYS[1], 'call:' .. call)
  end
  if position then positions[#positions + 1] = position end
end
if left ~= unanswered then redis.call('HINCRBY', KEYS[1], 'unanswered', left - unanswered) end
if parked and (left == 0 or interrupted) then redis.call('HSET', KEYS[1], 'parked', 0) end
if work and status == 'idle' and parked and left > 0 and not queued then
  work = not tell_idle_again(KEYS[1], KEYS[2], KEYS[6], left, time, ARGV[5])
end
if work then
  if status == 'idle' then
    reply[2] = 1
    redis.call('HSET', KEYS[1], 'status', 'running', 'running_since', ARGV[1])
    redis.call('ZADD', KEYS[4], ARGV[1], ARGV[2])
  elseif interrupted then
    -- An interrupt does not wait for a back-off to pass.
    redis.call('ZADD', KEYS[4], 'LT', ARGV[1], ARGV[2])
  else
    redis.call('ZADD', KEYS[4], 'NX', ARGV[1], ARGV[2])
  end
elseif status == 'idle' and #positions > 0 and unfolded(KEYS[1]) then
  reply[2] = 1
  redis.call('ZADD', KEYS[4], 'NX', ARGV[1], ARGV[2])
end
redis.call('HSET', KEYS[1], 'updated_at', ARGV[1])
if #positions > 0 then redis.call('SET', KEYS[5], ARGV[FIRST] .. '|' .. table.concat(positions, ','), 'EX', ARGV[4]) end
return reply
