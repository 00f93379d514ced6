-- Entries of a thread's log.
--
-- A stream entry has the fields  v format, s sequence number in the session, i id, t type, k kind (q queued | e event), p processed_at in ms
-- ('' while queued), b body JSON | r blob key of the body with z its size in bytes, x hidden JSON ('' if none), a position of the queued
-- form ('' if none), and, for a copy in the primary's log, c the thread it is of. Entries of 0.1.0 have neither v nor s: their sequence
-- number is their position. Positions count from 1 without gaps: the stream id is <position>-0.

-- The next processed_at of the session: Redis' time, but never before the last one (order in time = order in the log).
local function next_time(session)
  if not session.time then
    session.time = text(math.max(number(session, 'processed_at'), session.now))
    set(session, 'processed_at', session.time)
  end
  return session.time
end

-- The index of types says which types of events lie in which segment of the log, so that a list of a rare type need not read all of it
-- (I14). A segment is 128 positions and has 64 bits: the first says that it was indexed from its first position on, the others stand for
-- types. TYPE_BITS is made from the table of event kinds (scripts.ts); what reads the index is in log/type-index.ts.
local function index_type(types, position, type, kind)
  local segment = math.floor((position - 1) / 128) * 64
  if (position - 1) % 128 == 0 then redis.call('SETBIT', types, segment, 1) end
  -- What is queued is listed from the queue.
  if kind == 'e' then redis.call('SETBIT', types, segment + TYPE_BITS[type], 1) end
end

-- Adds an entry to a thread's log. entry: id, type, kind, time, body, and perhaps blob (the body is a blob's key), size, hidden, arrival,
-- copy_of and sequence (of a copy). Returns its position and its sequence number.
local function add(session, thread, entry)
  local sequence = entry.sequence or increase(session, 'sequence', 1)
  local position = increase(thread, 'head', 1)
  local fields = {
    'v', FORMAT, 's', text(sequence), 'i', entry.id, 't', entry.type, 'k', entry.kind, 'p', entry.time,
    entry.blob and 'r' or 'b', entry.body, 'x', entry.hidden or '', 'a', entry.arrival or '',
  }
  if entry.blob then
    fields[#fields + 1] = 'z'
    fields[#fields + 1] = text(entry.size)
  end
  if entry.copy_of then
    fields[#fields + 1] = 'c'
    fields[#fields + 1] = entry.copy_of
  else
    set(thread, 'last_own', position)
    increase(thread, 'uncheckpointed', 1)
  end
  redis.call('XADD', thread.log, text(position) .. '-0', unpack(fields))
  index_type(thread.types, position, entry.type, entry.kind)
  thread.added[#thread.added + 1] = { position = position, id = entry.id, fields = fields }
  return position, sequence
end

-- The same entry of a child in the primary's log: listed and streamed there, never run.
local function add_copy(session, thread, entry, sequence, arrival)
  return (add(session, primary_of(session), {
    id = entry.id, type = entry.type, kind = entry.kind, time = entry.time, body = entry.body, blob = entry.blob, size = entry.size,
    arrival = arrival, copy_of = thread.id, sequence = sequence,
  }))
end

-- An event that happens now; `copied`: a child's is shown in the primary's log, too. Returns its position, its sequence number, and where the
-- primary's log shows it.
local function add_event(session, thread, entry, copied)
  entry.kind, entry.time = 'e', next_time(session)
  local position, sequence = add(session, thread, entry)
  if not copied or thread.primary then return position, sequence, position end
  return position, sequence, add_copy(session, thread, entry, sequence)
end

-- An event that waits for the thread's worker; `copied` and what it returns as above, in both appearances.
local function add_queued(session, thread, entry, copied)
  entry.kind, entry.time = 'q', ''
  local position, sequence = add(session, thread, entry)
  redis.call('RPUSH', thread.queue, position)
  if entry.type == 'user.interrupt' then increase(thread, 'interrupts', 1) end
  if not copied or thread.primary then return position, sequence, position end
  local shown = add_copy(session, thread, entry, sequence)
  redis.call('RPUSH', primary_of(session).prefix .. 'shown', shown)
  set(thread, 'copy:' .. text(position), shown)
  return position, sequence, shown
end

local function entry_fields(stream_entry)
  local fields = {}
  for f = 1, #stream_entry[2], 2 do fields[stream_entry[2][f]] = stream_entry[2][f + 1] end
  return fields
end

-- Marks what is queued at `position` processed: its second appearance.
local function mark_processed(session, thread, position)
  local queued = entry_fields(redis.call('XRANGE', thread.log, position .. '-0', position .. '-0')[1])
  local entry = {
    id = queued.i, type = queued.t, body = queued.b or queued.r, blob = queued.r ~= nil, size = tonumber(queued.z) or 0, arrival = position,
  }
  local added, sequence = add_event(session, thread, entry)
  redis.call('LREM', thread.queue, 1, position)
  if queued.t == 'user.interrupt' then increase(thread, 'interrupts', -1) end
  local shown = get(thread, 'copy:' .. position)
  if shown ~= '' then
    add_copy(session, thread, entry, sequence, shown)
    redis.call('LREM', primary_of(session).prefix .. 'shown', 1, shown)
    redis.call('HDEL', thread.key, 'copy:' .. position)
    thread.changed['copy:' .. position] = nil
    thread.fields['copy:' .. position] = ''
  end
  return added
end

-- Entries from `low` to `high`, oldest first (or newest first), bounded in number and in bytes; at least one if there is any.
local function read_entries(log, low, high, count, bytes, reverse)
  local found, size = {}, 0
  while #found < count do
    local step = math.min(count - #found, 32)
    local part = reverse and redis.call('XREVRANGE', log, high, low, 'COUNT', step) or redis.call('XRANGE', log, low, high, 'COUNT', step)
    for _, entry in ipairs(part) do
      for _, value in ipairs(entry[2]) do size = size + #value end
      if size > bytes and #found > 0 then return found end
      found[#found + 1] = entry
    end
    if #part < step then return found end
    local last = tonumber(string.match(part[#part][1], '^%d+'))
    -- The stretch ends here. Redis would walk the whole stream for a range in front of its first entry, read backwards.
    if text(last) .. '-0' == (reverse and low or high) then return found end
    if reverse then high = text(last - 1) .. '-0' else low = text(last + 1) .. '-0' end
  end
  return found
end

-- Whether a log went on for so long without a turn that a worker should fold it, so that the next turn need not read all that (I14).
local function wants_checkpoint(thread)
  return number(thread, 'uncheckpointed') > 500
end
