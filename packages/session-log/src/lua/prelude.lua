-- Shared by the scripts of this folder: put in front of each when it is loaded.
--
-- A stream entry has the fields  i id, t type, k kind (q queued | e event), p processed_at in ms ('' while queued),
-- b body JSON | r blob key of the body, x hidden JSON ('' if none), a position of the queued form ('' if none).
-- Positions count from 1 without gaps: the stream id is <position>-0.

-- The next processed_at: now, but never before the last one (order in time = order in the log).
local function next_time(state, now)
  local last = tonumber(redis.call('HGET', state, 'pa') or '0')
  local time = string.format('%.0f', math.max(last, tonumber(now)))
  redis.call('HSET', state, 'pa', time)
  return time
end

-- The index of types says which types of events lie in which segment of the log, so that a list of a rare type need not read all of it
-- (I14). A segment is 128 positions and has 64 bits: the first says that it was indexed from its first position on, the others stand for
-- types. TYPE_BITS and what reads the index are in type-index.ts.
local function index_type(types, position, type, kind)
  local segment = math.floor((position - 1) / 128) * 64
  if (position - 1) % 128 == 0 then redis.call('SETBIT', types, segment, 1) end
  -- What is queued is listed from the queue.
  if kind == 'e' then redis.call('SETBIT', types, segment + TYPE_BITS[type], 1) end
end

local function add(state, log, types, id, type, kind, time, field, body, hidden, arrival)
  local position = redis.call('HINCRBY', state, 'seq', 1)
  redis.call('XADD', log, string.format('%.0f-0', position),
    'i', id, 't', type, 'k', kind, 'p', time, field, body, 'x', hidden, 'a', arrival)
  index_type(types, position, type, kind)
  return position
end

-- Whether a log went on for so long without a turn that a worker should fold it, so that the next turn need not read all that (I14).
local function unfolded(state)
  local checkpoint = redis.call('HGET', state, 'checkpoint')
  local folded = checkpoint ~= '' and cjson.decode(checkpoint).position or 0
  return tonumber(redis.call('HGET', state, 'seq')) - folded > 500
end
