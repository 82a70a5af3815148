-- Plans when a member is due next, without a record.
-- KEYS: due   ARGV: member, queue; delay (ms), 'wake' (now, whatever was planned) or 'never';
--   '' or a set: not 'never' while it has members
-- A member that was woken while its holder worked is due now, whatever the holder plans: it may have read too early.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] == 'wake' then
  redis.call('ZADD', KEYS[1], 'LT', now, ARGV[1])
  if redis.call('EXISTS', 'th:lease:' .. ARGV[1]) == 1 then redis.call('SADD', 'th:woken', ARGV[1]) end
  return redis.call('PUBLISH', 'th:wake', ARGV[2])
end
if ARGV[3] == 'never' and ARGV[4] ~= '' and redis.call('SCARD', ARGV[4]) > 0 then return 0 end
redis.call('HDEL', 'th:claims', ARGV[1]) -- a step has come to its end
local woken = redis.call('SISMEMBER', 'th:woken', ARGV[1]) == 1
if ARGV[3] == 'never' and not woken then return redis.call('ZREM', KEYS[1], ARGV[1]) end
local delay = woken and 0 or tonumber(ARGV[3])
redis.call('ZADD', KEYS[1], now + delay, ARGV[1])
if delay < 1000 then redis.call('PUBLISH', 'th:wake', ARGV[2]) end
return 1
