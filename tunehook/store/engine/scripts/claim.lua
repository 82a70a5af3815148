-- Claims members that are due, with a visibility timeout: if the claimant dies, they are due again after it.
-- Any number of schedulers may run this at once.
-- The timeout is 20 s, from the fourth claim without a commit on doubling to 10 min; after 20 claims a member is
-- parked. A commit resets the count. Kinds that are never parked keep to 20 s: all others depend on them.
-- KEYS: due, claims, parked   ARGV: limit, kinds that are never parked (JSON)
-- Returns {claimed, parked, ms until the next is due or -1}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local never_parked = cjson.decode(ARGV[2])
local claimed, parked = {}, {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local count = redis.call('HINCRBY', KEYS[2], member, 1)
  local kind = string.match(member, '^[^:]*')
  if count > 20 and not never_parked[kind] then
    redis.call('ZREM', KEYS[1], member)
    redis.call('HDEL', KEYS[2], member)
    redis.call('ZADD', KEYS[3], now, member)
    parked[#parked + 1] = member
  else
    local doubled = never_parked[kind] and 0 or math.max(0, math.min(count - 3, 10))
    local pause = math.min(20000 * 2 ^ doubled, 600000)
    redis.call('ZADD', KEYS[1], now + pause, member)
    claimed[#claimed + 1] = member
  end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local wait = -1
if first[2] then wait = math.max(0, tonumber(first[2]) - now) end
redis.call('SET', 'th:clock', now)
return {claimed, parked, wait}
