-- Statuses of threads and of their session, what was used and what that costs, and the events that tell of them.

local WORKING = { running = true, rescheduling = true }

-- The lists of sessions (sessions/session-index.ts): sorted sets in the bucket by creation time, one for each filter and state, so that a
-- list of any filter reads what it answers and nothing else (I14). They change in the call that changes the state.
local function index_keys(session)
  local agent = get(session, 'agent')
  local class = get(session, 'archived_at') ~= '' and 'archived' or get(session, 'status')
  local keys = {}
  for i, filter in ipairs({ 'all', 'agent:' .. agent, 'agent:' .. agent .. ':' .. get(session, 'agent_version') }) do
    keys[i] = session.bucket .. 'index:' .. get(session, 'workspace') .. ':' .. filter .. ':' .. class
  end
  return keys
end

local function leave_index(session)
  for _, key in ipairs(index_keys(session)) do redis.call('ZREM', key, session.id) end
end

local function enter_index(session)
  for _, key in ipairs(index_keys(session)) do redis.call('ZADD', key, get(session, 'created_at'), session.id) end
end

local function set_session_status(session, status)
  if get(session, 'status') == status then return end
  leave_index(session)
  set(session, 'status', status)
  enter_index(session)
end

-- Milliseconds of work so far; what runs at the same time counts once.
local function active_ms(session)
  local since = get(session, 'running_since')
  return number(session, 'active_ms') + (since ~= '' and math.max(0, session.now - tonumber(since)) or 0)
end

-- Changes a thread's status; the session's follows: any running thread makes it running, and it is rescheduling when all that work are.
local function set_thread_status(session, thread, status)
  local before = get(thread, 'status')
  if before == status then return end
  set(thread, 'status', status)
  local by = (WORKING[status] and 1 or 0) - (WORKING[before] and 1 or 0)
  if by == 1 then
    set(thread, 'running_since', session.now)
    if increase(session, 'running', 1) == 1 then set(session, 'running_since', session.now) end
  elseif by == -1 then
    increase(thread, 'active_ms', math.max(0, session.now - number(thread, 'running_since')))
    set(thread, 'running_since', '')
    if increase(session, 'running', -1) == 0 then
      set(session, 'active_ms', active_ms(session))
      set(session, 'running_since', '')
    end
  end
  local waits = (status == 'rescheduling' and 1 or 0) - (before == 'rescheduling' and 1 or 0)
  if waits ~= 0 then increase(session, 'rescheduling', waits) end
  local running, rescheduling = number(session, 'running'), number(session, 'rescheduling')
  set_session_status(session, running == 0 and 'idle' or rescheduling == running and 'rescheduling' or 'running')
end

-- A wake-up usually comes with what is marked due; the sweep leaves it this long.
local SETTLE_MS = 1000

-- Work for a thread: it runs from here on, is due, and wants a wake-up unless it has its worker already.
local function give_work(session, thread, due_key)
  local member = due_member(session, thread)
  if WORKING[get(thread, 'status')] then
    redis.call('ZADD', due_key, 'NX', session.now + SETTLE_MS, member)
    return false
  end
  set(thread, 'capped', '')
  set_thread_status(session, thread, 'running')
  redis.call('ZADD', due_key, session.now + SETTLE_MS, member)
  session.wakes[#session.wakes + 1] = thread.id
  return true
end

local function null_or(json) return json ~= '' and json or 'null' end

-- Nano-dollars at list prices, `rate` being those of an hour of work. What has no known price leaves nothing of any budget.
local function spent(session, rate)
  if get(session, 'unpriced') ~= '' then return math.huge end
  return number(session, 'usage_list_cost') + math.floor(active_ms(session) * rate / 3600000 + 0.5)
end

local function budget_reached(session, rate)
  local cap = get(session, 'budget_cap')
  return cap ~= '' and spent(session, rate) >= tonumber(cap)
end

local NANO_PER_CENT = 10000000

-- The body of session.usage (CONTRACT 2.2): what is not known is left out. Money is whole cents as text.
local function usage_body(session, rate)
  local function count(field) return text(number(session, field)) end
  local seconds = string.gsub(string.gsub(string.format('%.3f', active_ms(session) / 1000), '0+$', ''), '%.$', '')
  local usage = '"input_tokens":' .. count('usage_input_tokens')
    .. ',"output_tokens":' .. count('usage_output_tokens')
    .. ',"cache_read_input_tokens":' .. count('usage_cache_read_input_tokens')
    .. ',"cache_creation":{"ephemeral_5m_input_tokens":' .. count('usage_cache_creation_5m')
    .. ',"ephemeral_1h_input_tokens":' .. count('usage_cache_creation_1h') .. '}'
    .. ',"active_seconds":' .. seconds
  local cost = spent(session, rate)
  if cost < math.huge then usage = usage .. ',"list_cost":{"amount":"' .. text(math.floor(cost / NANO_PER_CENT)) .. '","currency":"USD"}' end
  local searches, fetches = number(session, 'usage_web_search_requests'), number(session, 'usage_web_fetch_requests')
  if searches + fetches > 0 then
    usage = usage .. ',"server_tool_use":{"web_search_requests":' .. text(searches) .. ',"web_fetch_requests":' .. text(fetches) .. '}'
  end
  return '{"usage":{' .. usage .. '},"budget":' .. null_or(get(session, 'budget')) .. '}'
end

-- Calls that wait for the client, in the order of the log; of one thread, or of all.
local function open_calls(session, thread)
  local flat = redis.call('HGETALL', session.prefix .. 'calls')
  local calls = {}
  for i = 1, #flat, 2 do
    local kind, owner, sequence = string.match(flat[i + 1], '^(%S+) (%S+) (%d+)$')
    if not thread or owner == thread.id then
      calls[#calls + 1] = { id = flat[i], kind = kind, thread = owner, sequence = tonumber(sequence) }
    end
  end
  table.sort(calls, function(a, b) return a.sequence < b.sequence end)
  return calls
end

local function requires_action(calls)
  local ids = {}
  for i, call in ipairs(calls) do ids[i] = '"' .. call.id .. '"' end
  return '{"type":"requires_action","event_ids":[' .. table.concat(ids, ',') .. ']}'
end

-- Why a session at rest rests: calls of any thread wait for the client, else the budget, else what its primary thread stopped for.
local function session_stop(session)
  local calls = open_calls(session)
  if #calls > 0 then return requires_action(calls), 'null' end
  for _, id in ipairs(thread_ids(session)) do
    if get(open_thread(session, id), 'capped') ~= '' then return '{"type":"budget_reached"}', 'null' end
  end
  local primary = primary_of(session)
  local stop = get(primary, 'stop')
  return stop ~= '' and stop or '{"type":"end_turn"}', null_or(get(primary, 'stop_details'))
end

local function thread_facts(thread)
  return '"session_thread_id":"' .. thread.id .. '","agent_name":' .. get(thread, 'agent_name')
end

-- A thread runs, and so does its session: told for the session only when that is news.
local function tell_running(session, thread, session_event, thread_event)
  set(thread, 'wake_at', '')
  set_thread_status(session, thread, 'running')
  if get(session, 'told') ~= 'running' then
    set(session, 'told', 'running')
    add_event(session, primary_of(session), { id = session_event, type = 'session.status_running', body = '{}' })
  end
  local entry = { id = thread_event, type = 'session.thread_status_running', body = '{' .. thread_facts(thread) .. '}' }
  return add_event(session, thread, entry, true)
end

-- The session waits to try again when nothing else of it works; told when that is news.
local function tell_session_rescheduled(session, id)
  if get(session, 'status') ~= 'rescheduling' or get(session, 'told') == 'rescheduling' then return end
  set(session, 'told', 'rescheduling')
  add_event(session, primary_of(session), { id = id, type = 'session.status_rescheduled', body = '{}' })
end

-- A thread waits to try again, and perhaps its session.
local function tell_rescheduled(session, thread, session_event, thread_event)
  set_thread_status(session, thread, 'rescheduling')
  local entry = { id = thread_event, type = 'session.thread_status_rescheduled', body = '{' .. thread_facts(thread) .. '}' }
  local position = add_event(session, thread, entry, true)
  tell_session_rescheduled(session, session_event)
  return position
end

local function tell_thread_idle(session, thread, id, stop, details)
  local entry = {
    id = id, type = 'session.thread_status_idle',
    body = '{' .. thread_facts(thread) .. ',"stop_reason":' .. stop .. ',"stop_details":' .. details .. '}',
  }
  return add_event(session, thread, entry, true)
end

-- `session.usage` directly precedes every idle of the session.
local function tell_session_idle(session, usage_event, idle_event, rate)
  local stop, details = session_stop(session)
  local primary = primary_of(session)
  add_event(session, primary, { id = usage_event, type = 'session.usage', body = usage_body(session, rate) })
  add_event(session, primary, {
    id = idle_event, type = 'session.status_idle', body = '{"stop_reason":' .. stop .. ',"stop_details":' .. details .. '}',
  })
  set(session, 'told', 'idle')
end
