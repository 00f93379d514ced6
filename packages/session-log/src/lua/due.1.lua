-- The threads of a bucket that somebody should look at by now: a send that nobody took up, a lease that ended, a back-off that is over. What
-- is told is moved ahead, so that of several sweepers one enqueues it.
-- KEYS due set
-- ARGV how many at most, by how many ms they are moved ahead
-- Returns members.
local due_key = KEYS[1]
local limit, ahead_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = now_ms()
local members = redis.call('ZRANGEBYSCORE', due_key, '-inf', now, 'LIMIT', 0, limit)
for _, member in ipairs(members) do redis.call('ZADD', due_key, 'XX', now + ahead_ms, member) end
return members
