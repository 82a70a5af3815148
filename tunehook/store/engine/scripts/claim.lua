-- Claims members that are due, with a visibility timeout: if the claimant dies, they are due again after it.
-- Any number of schedulers may run this at once.
-- The timeout is 20 s, from the fourth claim without a commit on doubling to 10 min; after 20 claims a member is
-- parked. A commit resets the count. Kinds that are never parked have a longest pause of their own.
-- A kind that is not known is a newer version's: its member is due again in 5 s, and the claim is not counted.
-- Projects take turns where there are turns. What has become due joins its project's line (a list), and its time is set
-- to -1: so it stays due, also for a scheduler that knows no turns. A member of a line is claimed only while its time
-- is below 0: it may have been planned for later, or claimed, or be in a second line by now.
-- KEYS: due, claims, parked; turns, a zset: who has a line → turn. The line is `<turns>:<who>`.
-- ARGV: limit (steps), the kinds that are known → longest pause of one that is never parked in ms, or 0 (JSON),
-- kind → so many that were not claimed since their last commit share a step, where there are turns (JSON)
-- Returns {claimed, parked, ms until the next is due or -1, left to a newer version, those claimed for the first time}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local limit, longest, turns = tonumber(ARGV[1]), cjson.decode(ARGV[2]), KEYS[4]
local together = cjson.decode(ARGV[3])
local claimed, parked, newer, fresh = {}, {}, {}, {}
local JOINING, LEFT = 200, 10000 -- the most that join, and that had left their line, in one run: 10 µs and 2 µs each

-- Who takes the turn for a member: its project, for a cancel the project a second time, or the member itself.
local function who(member)
  local kind, id = string.match(member, '^([^:]*):?(.*)$')
  if kind == 'copy' then id = redis.call('SRANDMEMBER', 'th:copy-waiters:' .. id) or '' end
  local record = redis.call('HMGET', (kind == 'check' and 'th:file:' or 'th:job:') .. id, 'doc', 'cancel')
  local project = string.match(record[1] or '', '^{"id":"[^"]*","project":"([^"]+)"')
  return project and (record[2] and 'cancel:' or 'project:') .. project or member
end

local function join_lines()
  local first = redis.call('ZRANGE', turns, 0, 0, 'WITHSCORES')[2]
  local from = first and 0 or '-inf' -- no line at all: a time below 0 is a mistake, which this mends
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], from, now, 'LIMIT', 0, JOINING)) do
    local whose = who(member)
    redis.call('ZADD', turns, 'NX', (first or 0) + 0.5, whose) -- after the one whose turn it is, before its next
    redis.call('RPUSH', turns .. ':' .. whose, member)
    redis.call('ZADD', KEYS[1], -1, member)
  end
end

-- What a member takes of a step.
local function share(member)
  local most = together[string.match(member, '^[^:]*')]
  return most and redis.call('HEXISTS', KEYS[2], member) == 0 and 1 / most or 1
end

local function in_turn()
  local found, used, left = {}, 0, 0
  while used < limit - 0.01 and left < LEFT do -- three thirds are not quite one
    local whose = redis.call('ZRANGE', turns, 0, 0)[1]
    if not whose then break end
    local member = redis.call('LPOP', turns .. ':' .. whose)
    if not member then
      redis.call('ZREM', turns, whose)
    elseif tonumber(redis.call('ZSCORE', KEYS[1], member) or 0) < 0 then
      redis.call('ZADD', KEYS[1], now, member)
      redis.call('ZINCRBY', turns, 1, whose)
      found[#found + 1] = member
      used = used + share(member)
    else
      left = left + 1
    end
  end
  return found
end

if turns then join_lines() end
for _, member in ipairs(turns and in_turn() or redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, limit)) do
  local most = longest[string.match(member, '^[^:]*')]
  local count = most and redis.call('HINCRBY', KEYS[2], member, 1)
  if not most then
    redis.call('ZADD', KEYS[1], now + 5000, member)
    newer[#newer + 1] = member
  elseif count > 20 and most == 0 then
    redis.call('ZREM', KEYS[1], member)
    redis.call('HDEL', KEYS[2], member)
    redis.call('ZADD', KEYS[3], now, member)
    parked[#parked + 1] = member
  else
    local pause = 20000 * 2 ^ math.max(0, math.min(count - 3, 10))
    redis.call('ZADD', KEYS[1], now + math.min(pause, most > 0 and most or 600000), member)
    claimed[#claimed + 1] = member
    if count == 1 then fresh[#fresh + 1] = member end
  end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local wait = -1
if first[2] then wait = math.max(0, tonumber(first[2]) - now) end
redis.call('SET', 'th:clock', now)
return {claimed, parked, wait, newer, fresh}
