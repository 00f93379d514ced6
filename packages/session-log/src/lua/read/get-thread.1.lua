-- Threads of a session as they are.
-- KEYS session state
-- ARGV ids of threads; none for all, the primary one first
-- Returns {time, for each: id, state's fields and values, record JSON or ''}.
local session = open_session(KEYS[1])
local answer = { session.now }
local ids = #ARGV > 0 and ARGV or thread_ids(session)
for _, id in ipairs(ids) do
  local prefix = session.prefix .. 't:' .. id .. ':'
  answer[#answer + 1] = id
  answer[#answer + 1] = redis.call('HGETALL', prefix .. 'state')
  answer[#answer + 1] = redis.call('GET', prefix .. 'record') or ''
end
return answer
