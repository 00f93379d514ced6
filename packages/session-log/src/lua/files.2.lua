-- Adds a file to a session or takes one away, at any time while it is not archived.
-- KEYS state, files
-- ARGV 1 now, 2 what: add | remove, 3 resource id, 4 resource JSON (add), 5 its mount path (add), 6 files at most (add)
-- Returns 1 done, 0 no such resource, -1 no such session, -2 archived, -3 too many files, {-4, path} another file is in the way.
-- Why atomic: two files must not be mounted at one path, and the revision tells every later call of a sandbox that something changed.
local status = redis.call('HGET', KEYS[1], 'status')
if not status or status == 'deleted' then return -1 end
if redis.call('HGET', KEYS[1], 'archived_at') ~= '' then return -2 end
if ARGV[2] == 'remove' then
  if redis.call('HDEL', KEYS[2], ARGV[3]) == 0 then return 0 end
else
  -- A command sent again.
  if redis.call('HEXISTS', KEYS[2], ARGV[3]) == 1 then return 1 end
  local path, count = ARGV[5] .. '/', 0
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    if all[i] ~= '#' then
      count = count + 1
      local other = cjson.decode(all[i + 1]).mount_path
      local longer = #other + 1 > #path and other .. '/' or path
      local shorter = #other + 1 > #path and path or other .. '/'
      if string.sub(longer, 1, #shorter) == shorter then return { -4, other } end
    end
  end
  if count >= tonumber(ARGV[6]) then return -3 end
  redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
end
redis.call('HINCRBY', KEYS[2], '#', 1)
redis.call('HSET', KEYS[1], 'updated_at', ARGV[1])
return 1
