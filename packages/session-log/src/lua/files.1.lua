-- Adds a file to a session or takes one away, at any time while it is not archived.
-- KEYS session state
-- ARGV what: add | remove, resource id, resource JSON (add), its mount path (add), files at most (add)
-- Returns {1, its JSON} done, {0} no such resource, {-1} no such session, {-2} archived, {-3} too many files, {-4, path} another file is in the way.
-- Why atomic: two files must not be mounted at one path, and the revision tells every later call of a sandbox that something changed.
local session = open_session(KEYS[1])
local what, id, resource, mount_path, at_most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local files = session.prefix .. 'files'
if not exists(session) then return { -1 } end
if get(session, 'archived_at') ~= '' then return { -2 } end
if what == 'remove' then
  if redis.call('HDEL', files, id) == 0 then return { 0 } end
else
  -- A command sent again.
  if redis.call('HEXISTS', files, id) == 1 then return { 1 } end
  local path, count = mount_path .. '/', 0
  local all = redis.call('HGETALL', files)
  for i = 1, #all, 2 do
    if all[i] ~= '#' then
      count = count + 1
      local other = cjson.decode(all[i + 1]).mount_path
      local longer = #other + 1 > #path and other .. '/' or path
      local shorter = #other + 1 > #path and path or other .. '/'
      if string.sub(longer, 1, #shorter) == shorter then return { -4, other } end
    end
  end
  if count >= at_most then return { -3 } end
  redis.call('HSET', files, id, resource)
end
redis.call('HINCRBY', files, '#', 1)
set(session, 'updated_at', session.now)
commit(session)
return { 1 }
