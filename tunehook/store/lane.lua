-- When a lane is due next: with its first delivery, not before a rest, or never when it is empty.
-- KEYS: lane, due   ARGV: member, rest (ms)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HDEL', 'th:claims', ARGV[1])
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not first[2] then return redis.call('ZREM', KEYS[2], ARGV[1]) end
local at = math.max(tonumber(first[2]), now + tonumber(ARGV[2]))
redis.call('ZADD', KEYS[2], at, ARGV[1])
if at <= now then redis.call('PUBLISH', 'th:wake', 'deliver') end
return at
