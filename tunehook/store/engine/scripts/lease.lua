-- Renews (ARGV[2] > 0, ms) or gives back (0) a lease, if it is still ours. Who gives it back after a wake-up that
-- came meanwhile lets the member be due now: that wake-up may have found the lease taken.
-- KEYS: lease, due   ARGV: token, ms, member, queue
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if tonumber(ARGV[2]) > 0 then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
redis.call('DEL', KEYS[1])
if redis.call('SREM', 'th:woken', ARGV[3]) == 1 then
  local time = redis.call('TIME')
  redis.call('ZADD', KEYS[2], 'LT', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[3])
  redis.call('PUBLISH', 'th:wake', ARGV[4])
end
return 1
