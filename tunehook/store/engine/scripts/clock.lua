-- Notices that Redis' clock was set back, and pulls in what is due: all of it would wait for that much longer.
-- A create of unknown outcome, too, is as old as before.
-- KEYS: the time that was seen last, by how much the clock was set back, due sets
-- ARGV: ms that are tolerated, seconds for which it is remembered
-- Returns by how many ms it was set back, or 0.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local back = tonumber(redis.call('GET', KEYS[1]) or '0') - now
redis.call('SET', KEYS[1], now)
if back <= tonumber(ARGV[1]) then return 0 end
for i = 3, #KEYS do
  local rows = redis.call('ZRANGEBYSCORE', KEYS[i], '(' .. now, '+inf', 'WITHSCORES')
  for j = 1, #rows, 2 do
    redis.call('ZADD', KEYS[i], math.max(now, rows[j + 1] - back), rows[j])
    local intent = string.sub(rows[j], 1, 4) == 'job:' and redis.call('HGET', 'th:' .. rows[j], 'intent')
    if intent and tonumber(intent) > now then redis.call('HSET', 'th:' .. rows[j], 'intent', intent - back) end
  end
end
redis.call('SET', KEYS[2], back, 'EX', ARGV[2])
return back
