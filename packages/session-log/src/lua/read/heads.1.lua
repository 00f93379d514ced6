-- How far the logs of some threads of one bucket are: the net under a lost message.
-- KEYS any key of the bucket
-- ARGV states of threads
-- Returns for each its head and its status ('' for none).
local answer = {}
for i = 1, #ARGV do
  local values = redis.call('HMGET', ARGV[i], 'head', 'status')
  answer[i * 2 - 1] = tonumber(values[1]) or 0
  answer[i * 2] = values[2] or ''
end
return answer
