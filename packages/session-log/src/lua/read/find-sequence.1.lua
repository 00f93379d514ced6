-- Where a sequence number lies in a thread's log: they grow with the position, so halving finds it however long the log is (I14).
-- KEYS log
-- ARGV sequence number
-- Returns the first position whose entry has a higher sequence number, or the one behind the end.
local log, sequence = KEYS[1], tonumber(ARGV[1])
local function sequence_of(entry) return tonumber(entry_fields(entry).s) or tonumber(string.match(entry[1], '^%d+')) end

-- In a session without children the two agree.
local same = redis.call('XRANGE', log, text(sequence) .. '-0', text(sequence) .. '-0')[1]
if same and sequence_of(same) == sequence then return sequence + 1 end
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local low, high = 1, last and tonumber(string.match(last[1], '^%d+')) + 1 or 1
-- An entry of 0.1.0 has its position for a sequence number, and sequence numbers never lie before positions.
high = math.min(high, sequence + 1)
while low < high do
  local middle = math.floor((low + high) / 2)
  local entry = redis.call('XRANGE', log, text(middle) .. '-0', '+', 'COUNT', 1)[1]
  if sequence_of(entry) > sequence then high = middle else low = middle + 1 end
end
return low
