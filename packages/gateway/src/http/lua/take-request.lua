-- Takes one request out of a bucket that holds `capacity` of them and fills up evenly, from empty to full in `period`.
-- KEYS: 1 bucket
-- ARGV: 1 capacity, 2 period in microseconds
-- Returns {1, requests left, microseconds until full} or, when there is none, {0, microseconds until there is one, microseconds until full}.
-- What is stored is when the bucket is full again, by the clock of Redis: gateways need not agree on the time.
local period = tonumber(ARGV[2])
local each = period / tonumber(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
-- A clock that was set back must not keep requests out for longer than an empty bucket does.
local missing = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or 0) - now, 0), period)
if missing + each > period then
  return {0, math.ceil(missing + each - period), math.ceil(missing)}
end
missing = missing + each
redis.call('SET', KEYS[1], string.format('%.0f', now + missing), 'PX', math.ceil(missing / 1000))
return {1, math.floor((period - missing) / each), math.ceil(missing)}
