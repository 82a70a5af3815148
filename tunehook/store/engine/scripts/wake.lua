-- Makes something due now, whatever was planned for later. Somebody who works on it now, and may have read too
-- early, is told by `th:woken`: what he plans for later becomes now (commit, plan, lease).
-- KEYS: due   ARGV: member, queue
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], 'LT', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
if redis.call('EXISTS', 'th:lease:' .. ARGV[1]) == 1 then redis.call('SADD', 'th:woken', ARGV[1]) end
return redis.call('PUBLISH', 'th:wake', ARGV[2])
