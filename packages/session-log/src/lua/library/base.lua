-- What every script starts with: time, text of numbers, and sessions and threads as objects.
--
-- A session and a thread are tables over their state hashes. Reads are cached, writes are gathered, and `commit` writes them with one HSET
-- each: a script that returns before `commit` has changed no field. Field names are full words; `keys.ts` lists them.

local FORMAT = '2'

-- Redis' own time in milliseconds: the only clock that is compared across processes.
local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function text(number)
  return string.format('%.0f', number)
end

local function object(key, fields)
  local self = { key = key, fields = {}, changed = {} }
  local values = redis.call('HMGET', key, unpack(fields))
  for i, field in ipairs(fields) do self.fields[field] = values[i] or '' end
  return self
end

-- The value of a field; '' for none.
local function get(self, field)
  local value = self.fields[field]
  if value == nil then
    value = redis.call('HGET', self.key, field) or ''
    self.fields[field] = value
  end
  return value
end

local function number(self, field)
  return tonumber(get(self, field)) or 0
end

local function set(self, field, value)
  if type(value) == 'number' then value = text(value) end
  self.fields[field] = value
  self.changed[field] = value
end

local function increase(self, field, by)
  local value = number(self, field) + by
  set(self, field, value)
  return value
end

-- What a newer version wrote is not touched (I16); scripts.ts makes an error of its own of this one. It is raised before anything is written:
-- of the session when it is opened, of a thread by its worker's scripts. Whoever gives a thread a newer format gives its session one, too.
local function refuse_newer(self, what)
  local format = get(self, 'format')
  if format ~= '' and not (tonumber(format) and tonumber(format) <= tonumber(FORMAT)) then
    error({ err = 'NEWERFORMAT ' .. format .. ' ' .. what })
  end
end

local SESSION_FIELDS = {
  'format', 'status', 'sequence', 'processed_at', 'primary', 'children', 'running', 'rescheduling', 'told', 'archived_at', 'workspace', 'budget_cap',
}
local THREAD_FIELDS = { 'format', 'status', 'head', 'epoch', 'append', 'lease_worker', 'awaiting', 'open_calls', 'uncheckpointed', 'last_own' }

-- KEYS[1] of every script is the session's state; the other keys of the session and of its threads are built from it and share its slot.
local function open_session(state_key)
  local session = object(state_key, SESSION_FIELDS)
  session.prefix = string.sub(state_key, 1, -#'state' - 1)
  session.bucket = string.match(state_key, '^mh:{b%d%d}:')
  session.id = string.match(session.prefix, '([^:]+):$')
  session.now = now_ms()
  session.threads = {}
  session.wakes = {}
  refuse_newer(session, 'the state of a session')
  return session
end

local function exists(session)
  local status = get(session, 'status')
  return status ~= '' and status ~= 'deleted'
end

-- A thread of the session; its state may be missing, then its status is ''.
local function open_thread(session, id)
  local known = session.threads[id]
  if known then return known end
  local prefix = session.prefix .. 't:' .. id .. ':'
  local thread = object(prefix .. 'state', THREAD_FIELDS)
  thread.id = id
  thread.prefix = prefix
  thread.log = prefix .. 'log'
  thread.types = prefix .. 'types'
  thread.queue = prefix .. 'queue'
  thread.primary = id == get(session, 'primary')
  thread.added = {}
  session.threads[id] = thread
  return thread
end

-- The thread of the worker that speaks.
local function open_own_thread(session, id)
  local thread = open_thread(session, id)
  refuse_newer(thread, 'the state of a thread')
  return thread
end

local function primary_of(session)
  return open_thread(session, get(session, 'primary'))
end

-- The ids of all threads, the primary one first.
local function thread_ids(session)
  local ids = { get(session, 'primary') }
  if number(session, 'children') > 0 then
    for _, id in ipairs(redis.call('ZRANGE', session.prefix .. 'threads', 0, -1)) do ids[#ids + 1] = id end
  end
  return ids
end

local function due_member(session, thread)
  return session.id .. '|' .. thread.id .. '|' .. get(session, 'workspace')
end

-- What a message may carry of its entries; longer ones are read by those who follow.
local INLINE_MESSAGE_BYTES = 16 * 1024

-- Tells followers what was added to a thread's log: positions from the first on, with the entries where they are small.
local function publish(session, thread)
  local entries = thread.added
  if #entries == 0 then return end
  local bytes = 0
  for _, entry in ipairs(entries) do
    for _, value in ipairs(entry.fields) do bytes = bytes + #value end
  end
  local message = { format = 2, first = entries[1].position, count = #entries }
  if bytes <= INLINE_MESSAGE_BYTES then
    message.entries = {}
    for i, entry in ipairs(entries) do message.entries[i] = entry.fields end
  end
  redis.call('SPUBLISH', thread.prefix .. 'feed', cjson.encode(message))
end

local function write(self)
  local flat = {}
  for field, value in pairs(self.changed) do
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
  if #flat > 0 then redis.call('HSET', self.key, unpack(flat)) end
  self.changed = {}
end

-- Nobody holds the lease from here on.
local function clear_lease(thread)
  set(thread, 'lease_worker', '')
  set(thread, 'lease_until', '')
end

-- Writes what changed and tells followers.
local function commit(session)
  for _, thread in pairs(session.threads) do
    write(thread)
  end
  write(session)
  for _, thread in pairs(session.threads) do publish(session, thread) end
end
