-- Takes a lease. What its holder is going to read is at least as new as every wake-up so far.
-- Taken already: that is no fruitless claim, and the member is due again when the lease ends, should its holder be dead.
-- KEYS: lease, due   ARGV: token, ms, member     Returns 1 or 0.
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  redis.call('SREM', 'th:woken', ARGV[3])
  return 1
end
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + redis.call('PTTL', KEYS[1]) + 100
redis.call('HDEL', 'th:claims', ARGV[3])
redis.call('ZADD', KEYS[2], 'XX', 'LT', ends, ARGV[3])
return 0
