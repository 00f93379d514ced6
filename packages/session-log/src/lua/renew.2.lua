-- Prolongs a lease that is still ours by epoch.
-- KEYS state, lease
-- ARGV 1 epoch, 2 worker, 3 lease time in ms
-- Returns 1 renewed, 0 lost.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
