-- Takes, renews or gives back a lease.
-- KEYS: lease, due   ARGV: 'take', 'renew' or 'give back'; token, ms, member, queue
-- Returns 1, or 0: another holder has it (take), or it is not ours any more.
local holder = redis.call('GET', KEYS[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] == 'take' then
  if holder then
    -- Not a fruitless claim; and due again when the lease ends, in case its holder is dead.
    redis.call('HDEL', 'th:claims', ARGV[4])
    redis.call('ZADD', KEYS[2], 'XX', 'LT', now + redis.call('PTTL', KEYS[1]) + 100, ARGV[4])
    return 0
  end
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  redis.call('SREM', 'th:woken', ARGV[4]) -- its holder reads the record after every wake-up so far
  return 1
end
if holder ~= ARGV[2] then return 0 end
if ARGV[1] == 'renew' then return redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
redis.call('DEL', KEYS[1])
-- A wake-up that came meanwhile may have found the lease taken, so the member is due now.
if redis.call('SREM', 'th:woken', ARGV[4]) == 1 then
  redis.call('ZADD', KEYS[2], 'LT', now, ARGV[4])
  redis.call('PUBLISH', 'th:wake', ARGV[5])
end
return 1
