-- Notices that Redis' clock was set back, and pulls in what is due: all of it would wait for that much longer.
-- A create of unknown outcome, too, is as old as before; and no older, where the clock was set ahead.
-- KEYS: the time that was seen last, by how much the clock was set back, due sets
-- ARGV: ms that are tolerated, seconds for which it is remembered; what time it is by the caller's own clock, or '', and
--   by how many ms Redis' may be ahead of it
-- Returns {by how many ms it was set back, or 0; the time}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local back = tonumber(redis.call('GET', KEYS[1]) or '0') - now
redis.call('SET', KEYS[1], now)
local ahead = now - (tonumber(ARGV[3]) or now)
if ahead > tonumber(ARGV[4]) then
  for i = 3, #KEYS do
    for _, member in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
      local intent = string.sub(member, 1, 4) == 'job:' and redis.call('HGET', 'th:' .. member, 'intent')
      if intent and tonumber(intent) < now then
        redis.call('HSET', 'th:' .. member, 'intent', math.min(now, intent + ahead))
      end
    end
  end
end
if back <= tonumber(ARGV[1]) then return {0, now} end
for i = 3, #KEYS do
  local rows = redis.call('ZRANGE', KEYS[i], 0, -1, 'WITHSCORES')
  for j = 1, #rows, 2 do
    local at = tonumber(rows[j + 1])
    if at > now then redis.call('ZADD', KEYS[i], math.max(now, at - back), rows[j]) end
    local intent = string.sub(rows[j], 1, 4) == 'job:' and redis.call('HGET', 'th:' .. rows[j], 'intent')
    if intent and tonumber(intent) > now then redis.call('HSET', 'th:' .. rows[j], 'intent', intent - back) end
  end
end
redis.call('SET', KEYS[2], back, 'EX', ARGV[2])
return {back, now}
