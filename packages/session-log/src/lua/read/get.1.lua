-- A session as it is: record, state and files agree, and the time is Redis'.
-- KEYS session state
-- Returns {time, record JSON, state's fields and values, files' fields and values}, {} if there is none.
local state_key = KEYS[1]
local prefix = string.sub(state_key, 1, -#'state' - 1)
local record = redis.call('GET', prefix .. 'record')
if not record then return {} end
return { now_ms(), record, redis.call('HGETALL', state_key), redis.call('HGETALL', prefix .. 'files') }
