-- Gives a lease back in order, so that the next acquisition is no recovery. A thread with work left stays due.
-- KEYS session state, due set
-- ARGV thread, epoch, how: 'done' | 'failed' (an exception ended the run: counted until the thread makes progress) | 'unavailable' (one that
--      says that infrastructure was away)
-- Returns {1} released, {0} not held any more.
local session = open_session(KEYS[1])
local due_key = KEYS[2]
local thread = open_own_thread(session, ARGV[1])
local epoch, how = ARGV[2], ARGV[3]
local RETRY_BASE_MS, RETRY_CAP_MS = 500, 30000
if get(thread, 'epoch') ~= epoch or get(thread, 'lease_worker') == '' then return { 0 } end
clear_lease(thread)
local wait_ms = SETTLE_MS
if how ~= 'done' then
  if how == 'failed' then increase(thread, 'exceptions', 1) end
  wait_ms = math.min(RETRY_CAP_MS, RETRY_BASE_MS * 2 ^ math.min(increase(thread, 'retries', 1), 10))
end
local member = due_member(session, thread)
if not exists(session) then
  redis.call('ZREM', due_key, member)
elseif WORKING[get(thread, 'status')] or how ~= 'done' then
  redis.call('ZADD', due_key, math.max(session.now + wait_ms, number(thread, 'wake_at')), member)
else
  redis.call('ZREM', due_key, member)
end
write(thread)
return { 1 }
