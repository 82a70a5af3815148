-- One change of one record, refused unless the record is what its writer read, the lease is its
-- writer's and the move is an arrow of the table; with it, in the same breath, all that follows from it.
-- KEYS: record, lease   ARGV: change (JSON), document, arrows (JSON)
-- Returns {"ok", now_ms}, {"revision"|"lease"|"move", what was found} or {"exists", key, value}.
local change = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- guards: keys that must not exist yet (a repeated call finds the answer of the first)
for _, key in ipairs(change.guards) do
  local value = redis.call('GET', key)
  if value then return {'exists', key, value} end
end
local revision = tonumber(redis.call('HGET', KEYS[1], 'rev') or '0')
if revision ~= change.revision then return {'revision', tostring(revision)} end
if change.token and redis.call('GET', KEYS[2]) ~= change.token then return {'lease', ''} end
if change.stage then
  local from = redis.call('HGET', KEYS[1], 'stage')
  if from and from ~= change.stage then
    local allowed = cjson.decode(ARGV[3])[from]
    if not (allowed and allowed[change.stage]) then return {'move', from} end
  end
  redis.call('HSET', KEYS[1], 'stage', change.stage)
end

if change.delete then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'rev', revision + 1, 'doc', ARGV[2])
end
for _, field in ipairs(change.stamp) do redis.call('HSET', KEYS[1], field, now) end
for _, field in ipairs(change.clear) do redis.call('HDEL', KEYS[1], field) end
for _, command in ipairs(change.commands) do redis.call(unpack(command)) end
for _, entry in ipairs(change.listed) do
  redis.call('ZADD', entry[1], 'NX', redis.call('INCR', 'th:sequence'), entry[2])
end
for _, line in ipairs(change.log) do redis.call('XADD', line[1], '*', 'doc', line[2]) end
for _, entry in ipairs(change.timed) do redis.call('ZADD', entry[1], now + entry[3], entry[2]) end

-- due: {zset, member, delay}; a negative delay means: nothing more is to be done
for _, entry in ipairs(change.due) do
  redis.call('HDEL', 'th:claims', entry[2])
  if entry[3] < 0 then
    redis.call('ZREM', entry[1], entry[2])
  else
    redis.call('ZADD', entry[1], now + entry[3], entry[2])
    if entry[3] < 1000 then change.woken[#change.woken + 1] = entry[4] end
  end
end
-- soon: {zset, member, queue}: at once, whatever was planned for later
for _, entry in ipairs(change.soon) do
  redis.call('ZADD', entry[1], 'LT', now, entry[2])
  change.woken[#change.woken + 1] = entry[3]
end
for _, queue in ipairs(change.woken) do redis.call('PUBLISH', 'th:wake', queue) end
if #change.log > 0 then redis.call('PUBLISH', 'th:news', change.log[1][3]) end
return {'ok', tostring(now)}
