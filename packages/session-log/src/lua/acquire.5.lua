-- Takes the session's lease for a worker under a new epoch; older epochs are refused from here on (I3).
-- KEYS state, lease, rec, queue, log
-- ARGV 1 worker, 2 lease time in ms, 3 how many entries behind the checkpoint to bring along
-- Returns {1, epoch, takeovers, record JSON, state fields and values, positions queued, entries}, {0, ms that the present lease still lives},
--         {-1} no such session or ended.
-- What the worker reads next comes along: a turn starts with one round trip less.
local status = redis.call('HGET', KEYS[1], 'status')
if not status or status == 'deleted' or status == 'terminated' then return { -1 } end
local left = redis.call('PTTL', KEYS[2])
if left > 0 then return { 0, left } end
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
-- 'open' stays set when a worker ends without releasing: then this is a take-over.
local takeovers = 0
if redis.call('HGET', KEYS[1], 'open') == '1' then
  takeovers = redis.call('HINCRBY', KEYS[1], 'takeovers', 1)
end
redis.call('HSET', KEYS[1], 'n', 0, 'res', '', 'open', 1)
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local checkpoint = redis.call('HGET', KEYS[1], 'checkpoint')
local known = checkpoint ~= '' and cjson.decode(checkpoint).position or 0
local entries = redis.call('XRANGE', KEYS[5], string.format('%.0f-0', known + 1), '+', 'COUNT', ARGV[3])
return { 1, epoch, takeovers, redis.call('GET', KEYS[3]), redis.call('HGETALL', KEYS[1]), redis.call('LRANGE', KEYS[4], 0, -1), entries }
