-- Hands out the deliveries of a pull endpoint that are due, each with a lease: until it ends, no other reader gets it.
-- A reader that names the last delivery which it has received (`after`) gets those again at once that were handed out
-- later to the same reader, and of which it has reported nothing: they were lost on their way.
-- The lease is noted on the delivery's record: `<reader> <number> <until, ms>`.
-- KEYS: the endpoint's queue; the project's pull endpoints → when each goes; the deliveries of a job, if no others are
-- wanted
-- ARGV: endpoint, ms until it goes unless it is read, lease (ms), limit, reader, after or ''
-- Returns {how many more are due, id, until, id, until, …}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease, reader, after = tonumber(ARGV[3]), ARGV[5], ARGV[6]
redis.call('ZADD', KEYS[2], 'XX', now + ARGV[2], ARGV[1])

local function lease_of(id)
  return string.match(redis.call('HGET', 'th:delivery:' .. id, 'lease') or '', '^(%S+) (%d+) (%d+)$')
end

local whose, last = lease_of(after)
if whose then
  local rows = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, now + 3600000, 'WITHSCORES')
  for index = 1, #rows, 2 do
    local holder, number, till = lease_of(rows[index])
    local held = holder == whose and tonumber(till) == tonumber(rows[index + 1]) -- else its next attempt is planned
    if held and tonumber(number) > tonumber(last) then
      redis.call('ZADD', KEYS[1], now - 1000 + math.min(index, 1000), rows[index]) -- in the order of the first time
    end
  end
end
local limit, due = tonumber(ARGV[4]), {}
if KEYS[3] then
  local at = {}
  for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    at[id] = tonumber(redis.call('ZSCORE', KEYS[1], id) or now + 1)
    if at[id] <= now then due[#due + 1] = id end
  end
  table.sort(due, function(one, other) return at[one] < at[other] end)
else
  due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, limit)
end
local found = {0}
for index, id in ipairs(due) do
  if index > limit then break end
  if redis.call('EXISTS', 'th:delivery:' .. id) == 0 then
    redis.call('ZREM', KEYS[1], id) -- it has expired
  else
    local till = string.format('%.0f', now + lease + index) -- a ms apart, which keeps their order
    redis.call('ZADD', KEYS[1], till, id)
    redis.call('HSET', 'th:delivery:' .. id, 'lease', reader .. string.format(' %.0f ', now * 1000 + index) .. till)
    found[#found + 1] = id
    found[#found + 1] = till
  end
end
found[1] = KEYS[3] and math.max(0, #due - limit) or redis.call('ZCOUNT', KEYS[1], '-inf', now)
return found
