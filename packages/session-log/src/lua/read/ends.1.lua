-- Where the log of a thread ends, at one moment: what is queued was not processed up to this head, and what is not queued was.
-- KEYS state of the thread
-- Returns {head, positions queued, positions of what is queued for others and shown in this log}.
local state_key = KEYS[1]
local prefix = string.sub(state_key, 1, -#'state' - 1)
return {
  tonumber(redis.call('HGET', state_key, 'head')) or 0, redis.call('LRANGE', prefix .. 'queue', 0, -1),
  redis.call('LRANGE', prefix .. 'shown', 0, -1),
}
