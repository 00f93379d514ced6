-- When the session's sandbox last answered any of its threads.
-- KEYS session state
-- ARGV generation, what: 'note' | 'ask'
-- Returns ms since then under that generation, -1 if none is known.
local session = open_session(KEYS[1])
local generation, what = ARGV[1], ARGV[2]
if what == 'note' then
  if not exists(session) then return -1 end
  set(session, 'sandbox_answer', generation .. ' ' .. text(session.now))
  write(session)
  return 0
end
local noted, at = string.match(get(session, 'sandbox_answer'), '^(%d+) (%d+)$')
return noted == generation and session.now - tonumber(at) or -1
