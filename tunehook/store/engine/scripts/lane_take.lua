-- Takes a lane and what is due in it, with all that sending needs, in one round trip.
-- A lane belongs to an endpoint (its id is the endpoint's) or to a callback URL.
-- KEYS: lane, lease, rest, endpoint   ARGV: lane id, token, lease (ms), limit, due set, member,
--   whether slow ones are taken now ('1'), one that is not waits among its like; record version
-- Returns {"taken"}, {"slow"}, {"rest", ms} or {"ok", slow, endpoint fields, {id, rev, doc, event, key}…}.
local function read(document) -- {} for what cannot be read: who reads the answer finds that out, and says so
  local good, value = pcall(cjson.decode, document or '')
  return good and type(value) == 'table' and value or {}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[2] then
  -- No fruitless claim; and due again when the lease ends, should its holder be dead (as in take.lua).
  local ends = now + redis.call('PTTL', KEYS[2]) + 100
  redis.call('HDEL', 'th:claims', ARGV[6])
  redis.call('ZADD', ARGV[5], 'XX', 'LT', ends, ARGV[6])
  return {'taken'}
end
if not holder then
  if ARGV[7] ~= '1' and redis.call('SISMEMBER', 'th:slow-lanes', ARGV[1]) == 1 then
    redis.call('HDEL', 'th:claims', ARGV[6])
    redis.call('ZREM', ARGV[5], ARGV[6])
    redis.call('ZADD', 'th:due:slow', 'LT', now, ARGV[6])
    return {'slow'}
  end
  local rest = redis.call('PTTL', KEYS[3])
  if rest > 0 then
    redis.call('HDEL', 'th:claims', ARGV[6])
    redis.call('ZADD', ARGV[5], now + rest, ARGV[6])
    return {'rest', rest}
  end
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
local is_endpoint = string.sub(ARGV[1], 1, 3) == 'we_'
local endpoint = is_endpoint and redis.call('HGETALL', KEYS[4]) or {}
-- Nothing more is sent to an endpoint that is gone or disabled, so nothing waits for its time either.
local open = not is_endpoint or (#endpoint > 0 and not read(redis.call('HGET', KEYS[4], 'doc')).disabled_at)
local until_when = open and now or '+inf'
local answer = {'ok', redis.call('SISMEMBER', 'th:slow-lanes', ARGV[1]), endpoint}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', until_when, 'LIMIT', 0, ARGV[4])) do
  local fields = redis.call('HMGET', 'th:delivery:' .. id, 'rev', 'doc', 'v')
  if fields[3] and tonumber(fields[3]) > tonumber(ARGV[8]) then
    redis.call('ZADD', KEYS[1], 'XX', now + 5000, id) -- a newer program's to send, which may have it in a moment
  else
    local row = {id, fields[1] or '', fields[2] or '', '', ''}
    if fields[2] then
      local delivery = read(fields[2])
      if type(delivery.event_id) == 'string' then row[4] = redis.call('GET', 'th:event:' .. delivery.event_id) or '' end
      if type(delivery.key_id) == 'string' then row[5] = redis.call('GET', 'th:key:' .. delivery.key_id) or '' end
    end
    answer[#answer + 1] = row
  end
end
return answer
