-- Reads a stretch of a log, bounded in number and in bytes.
-- KEYS log
-- ARGV first and last position ('+' for the end), how many at most, bytes at most, 'asc' | 'desc'
-- Returns entries; at least one if there is any.
local log = KEYS[1]
local from, to, count, bytes, order = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
return read_entries(log, from .. '-0', to == '+' and '+' or to .. '-0', count, bytes, order == 'desc')
