-- Appends client events, sets the state and marks the session dirty: the acknowledged write of a client (I1, I5).
-- KEYS state, log, queue, dirty, sent
-- ARGV 1 now, 2 dirty member, 3 is the client trying again (1|0), 4 seconds to remember the send,
--      then per event: id, type, body field, body
-- Returns {1, starts work (1|0: a session at work has its worker already), position and processed_at of each}, {2, remembered positions},
--         {-1} no such session, {-2} archived.
-- Why atomic: an event without its dirty mark would sleep; a status without its event would lie.
local status = redis.call('HGET', KEYS[1], 'status')
if not status or status == 'deleted' then return { -1 } end
-- A send is remembered by its first id and its positions: the client may repeat it, and so may a reconnecting connection.
local remembered = redis.call('GET', KEYS[5])
if remembered then
  local id, positions = string.match(remembered, '^([^|]*)|(.*)$')
  if ARGV[3] == '1' or id == ARGV[5] then return { 2, positions } end
end
if redis.call('HGET', KEYS[1], 'archived_at') ~= '' then return { -2 } end

local reply = { 1, 0 }
local positions = {}
local time
local queued = false
local interrupted = false
for i = 5, #ARGV, 4 do
  local at_rest = status == 'idle' and redis.call('LLEN', KEYS[3]) == 0
  local position
  if ARGV[i + 1] == 'user.interrupt' and at_rest then
    -- Nothing to interrupt: recorded as handled, and no work.
    time = time or next_time(KEYS[1], ARGV[1])
    position = add(KEYS[1], KEYS[2], ARGV[i], ARGV[i + 1], 'e', time, ARGV[i + 2], ARGV[i + 3], '', '')
    reply[#reply + 1] = position
    reply[#reply + 1] = time
  else
    position = add(KEYS[1], KEYS[2], ARGV[i], ARGV[i + 1], 'q', '', ARGV[i + 2], ARGV[i + 3], '', '')
    redis.call('RPUSH', KEYS[3], position)
    reply[#reply + 1] = position
    reply[#reply + 1] = ''
    queued = true
    interrupted = interrupted or ARGV[i + 1] == 'user.interrupt'
  end
  positions[#positions + 1] = position
end
if queued then
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
end
redis.call('HSET', KEYS[1], 'updated_at', ARGV[1])
redis.call('SET', KEYS[5], ARGV[5] .. '|' .. table.concat(positions, ','), 'EX', ARGV[4])
return reply
