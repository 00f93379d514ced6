-- Takes a thread's lease for a worker under a new epoch; older epochs are refused from here on (I3). A wake-up too many gets none.
-- KEYS session state, due set
-- ARGV thread, worker, lease time in ms, entries and bytes behind the checkpoint to bring along, workspace, position and event id of the last
--      entry that the worker remembers ('' for none)
-- Returns {1, epoch, recoveries, time, record JSON, session's fields and values, thread's fields and values, thread's record JSON or '',
--         positions queued, entries, 1 if they begin behind what the worker remembers}, {0, ms that the present lease still lives}, {-1} no such thread, or ended, {-2} nothing to do.
-- What the worker reads next comes along: a turn starts with one round trip less.
local session = open_session(KEYS[1])
local due_key = KEYS[2]
local thread_id, worker, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local count, bytes, workspace = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local known_position, known_id = tonumber(ARGV[7]) or 0, ARGV[8]
local thread = open_own_thread(session, thread_id)
local status = get(thread, 'status')
if not exists(session) or status == '' or status == 'terminated' then
  -- The mark of what ended is woken once.
  redis.call('ZREM', due_key, session.id .. '|' .. thread_id .. '|' .. workspace)
  return { -1 }
end
local holder, until_ms = get(thread, 'lease_worker'), number(thread, 'lease_until')
if holder ~= '' and until_ms > session.now then return { 0, until_ms - session.now } end
local member = due_member(session, thread)
if not WORKING[status] and not wants_checkpoint(thread) then
  -- Whoever held it ended between its last append and the release.
  if holder ~= '' then
    clear_lease(thread)
    write(thread)
  end
  redis.call('ZREM', due_key, member)
  return { -2 }
end
local epoch = increase(thread, 'epoch', 1)
-- The holder stays in the state when a worker ends without releasing: then this is a recovery.
local recoveries = number(thread, 'recoveries')
if holder ~= '' then recoveries = increase(thread, 'recoveries', 1) end
set(thread, 'append', 0)
set(thread, 'append_result', '')
set(thread, 'lease_worker', worker)
set(thread, 'lease_until', session.now + lease_ms)
redis.call('ZADD', due_key, session.now + lease_ms, member)
write(thread)
local low = number(thread, 'checkpoint_position') + 1
-- What it remembers counts if the log still has it: a fail-over may have lost the end of it.
local remembered = 0
if known_position >= low then
  local entry = redis.call('XRANGE', thread.log, text(known_position) .. '-0', text(known_position) .. '-0')[1]
  if entry and entry_fields(entry).i == known_id then low, remembered = known_position + 1, 1 end
end
return {
  1, epoch, recoveries, session.now, redis.call('GET', session.prefix .. 'record'), redis.call('HGETALL', session.key),
  redis.call('HGETALL', thread.key), redis.call('GET', thread.prefix .. 'record') or '', redis.call('LRANGE', thread.queue, 0, -1),
  read_entries(thread.log, text(low) .. '-0', '+', count, bytes), remembered,
}
