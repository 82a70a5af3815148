-- When something is due next, where no record is written with it; a step has come to its end, so claims are forgiven.
-- KEYS: due   ARGV: member, queue, delay (ms; negative: never), '' or a set that keeps it due while anybody is in it
local delay = tonumber(ARGV[3])
if delay < 0 and ARGV[4] ~= '' and redis.call('SCARD', ARGV[4]) > 0 then return 0 end
redis.call('HDEL', 'th:claims', ARGV[1])
if redis.call('SISMEMBER', 'th:woken', ARGV[1]) == 1 then delay = 0 end
if delay < 0 then return redis.call('ZREM', KEYS[1], ARGV[1]) end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000) + delay, ARGV[1])
if delay < 1000 then redis.call('PUBLISH', 'th:wake', ARGV[2]) end
return 1
