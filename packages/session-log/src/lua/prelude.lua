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

local function add(state, log, id, type, kind, time, field, body, hidden, arrival)
  local position = redis.call('HINCRBY', state, 'seq', 1)
  redis.call('XADD', log, string.format('%.0f-0', position),
    'i', id, 't', type, 'k', kind, 'p', time, field, body, 'x', hidden, 'a', arrival)
  return position
end
