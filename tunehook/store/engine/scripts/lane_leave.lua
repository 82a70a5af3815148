-- Gives a lane back and says when it is due next: with its first delivery, after a rest, or never when it is empty.
-- KEYS: lane, lease, rest, due   ARGV: lane id, token, member, rest (ms), slow (1 or 0)
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HDEL', 'th:claims', ARGV[3])
local woken = redis.call('SREM', 'th:woken', ARGV[3]) == 1
if ARGV[5] == '1' then redis.call('SADD', 'th:slow-lanes', ARGV[1]) end
if ARGV[5] == '0' then redis.call('SREM', 'th:slow-lanes', ARGV[1]) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local rest = tonumber(ARGV[4])
if rest > 0 then redis.call('SET', KEYS[3], '1', 'PX', rest) end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not first[2] then
  redis.call('SREM', 'th:slow-lanes', ARGV[1])
  redis.call('ZREM', 'th:due:slow', ARGV[3])
  return redis.call('ZREM', KEYS[4], ARGV[3])
end
-- Woken meanwhile, perhaps to be closed: it is looked at now, whenever its first delivery is due.
local planned = woken and now or tonumber(first[2])
local at = math.max(planned, now + rest)
local is_slow = redis.call('SISMEMBER', 'th:slow-lanes', ARGV[1]) == 1
redis.call('ZREM', is_slow and KEYS[4] or 'th:due:slow', ARGV[3])
redis.call('ZADD', is_slow and 'th:due:slow' or KEYS[4], at, ARGV[3])
if at <= now then redis.call('PUBLISH', 'th:wake', 'deliver') end
return at
