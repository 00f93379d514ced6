-- Prolongs a lease that is still held: by epoch, and not given back.
-- KEYS session state, due set
-- ARGV thread, epoch, lease time in ms
-- Returns {1, head of the thread's log, the interrupt that waits for it: its sequence number or 0}, {0} lost or given back.
local session = open_session(KEYS[1])
local due_key = KEYS[2]
local thread = open_own_thread(session, ARGV[1])
local epoch, lease_ms = ARGV[2], tonumber(ARGV[3])
if not exists(session) or get(thread, 'epoch') ~= epoch or get(thread, 'lease_worker') == '' then return { 0 } end
set(thread, 'lease_until', session.now + lease_ms)
redis.call('ZADD', due_key, session.now + lease_ms, due_member(session, thread))
write(thread)
return { 1, number(thread, 'head'), number(thread, 'interrupt') }
