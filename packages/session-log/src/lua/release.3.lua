-- Gives a lease back in order, so that the next acquisition is no take-over.
-- KEYS state, lease, dirty
-- ARGV 1 epoch, 2 is work left (1|0), 3 dirty member, 4 now
-- Returns 1 released, 0 not ours any more.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'open', 0)
if ARGV[2] == '1' then redis.call('ZADD', KEYS[3], ARGV[4], ARGV[3]) end
return 1
