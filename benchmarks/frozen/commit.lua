-- One change of one record, refused unless the record is what its writer read, the lease is its
-- writer's and the move is an arrow of the table; with it, in the same breath, all that follows from it.
-- KEYS: record, lease   ARGV: change (JSON), document, arrows (JSON)
-- Returns {"ok", now_ms}, {"revision"|"lease"|"move"|"newer", what was found}, {"exists", key, value},
-- {"missing", key} or {"claimed", name, whose}. Nothing is written before the last of these checks.
local change = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- guards: {key, what it may hold}: else it must not exist (a repeated call finds the answer of the first)
for _, guard in ipairs(change.guards) do
  local value = redis.call('GET', guard[1])
  if value and value ~= guard[2] then return {'exists', guard[1], value} end
end
-- needs: keys that must exist (a job is not accepted on a file that is being deleted)
for _, key in ipairs(change.needs) do
  if redis.call('EXISTS', key) == 0 then return {'missing', key} end
end
-- claims: {hash, name, job}: a name there that no other job may have (an upstream's job is one of ours only)
for _, claim in ipairs(change.claims) do
  local whose = redis.call('HGET', claim[1], claim[2])
  if whose and whose ~= claim[3] and string.sub(whose, 1, 6) == 'ftjob-' then return {'claimed', claim[2], whose} end
end
local revision = tonumber(redis.call('HGET', KEYS[1], 'rev') or '0')
if revision ~= change.revision then return {'revision', tostring(revision)} end
-- a record that a newer version of the program wrote is that version's to change
local version = redis.call('HGET', KEYS[1], 'v')
if version and tonumber(version) > change.version then return {'newer', version} end
if change.token and redis.call('GET', KEYS[2]) ~= change.token then return {'lease', ''} end
local news = {}
local from = redis.call('HGET', KEYS[1], 'stage')
if change.stage then
  if from and from ~= change.stage then
    local allowed = cjson.decode(ARGV[3])[from]
    if not (allowed and allowed[change.stage]) then return {'move', from} end
  end
  redis.call('HSET', KEYS[1], 'stage', change.stage)
  news[string.match(KEYS[1], '[^:]*$')] = true
end
-- how many jobs there are of each stage, for the metrics
local to = not change.delete and (change.stage or from) or false
if from ~= to then
  if from then redis.call('HINCRBY', 'th:stages', from, -1) end
  if to then redis.call('HINCRBY', 'th:stages', to, 1) end
end

if change.delete then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'rev', revision + 1, 'doc', ARGV[2], 'v', change.version)
end
for _, field in ipairs(change.stamp) do redis.call('HSET', KEYS[1], field, now) end
for _, field in ipairs(change.clear) do redis.call('HDEL', KEYS[1], field) end
for _, claim in ipairs(change.claims) do redis.call('HSET', claim[1], claim[2], claim[3]) end
for _, command in ipairs(change.commands) do redis.call(unpack(command)) end
for _, entry in ipairs(change.listed) do
  redis.call('ZADD', entry[1], 'NX', redis.call('INCR', 'th:sequence'), entry[2])
end
for _, line in ipairs(change.log) do
  redis.call('XADD', line[1], 'MAXLEN', '~', line[4], '*', 'doc', line[2])
end
for _, entry in ipairs(change.timed) do
  redis.call('ZADD', entry[1], now + entry[3], entry[2])
  if entry[4] then redis.call('EXPIRE', entry[1], entry[4]) end
end

-- freed: sets of members of a kind that all go on now: {set, kind, zset, queue}
for _, entry in ipairs(change.freed) do
  for _, id in ipairs(redis.call('SMEMBERS', entry[1])) do
    change.soon[#change.soon + 1] = {entry[3], entry[2] .. ':' .. id, entry[4]}
  end
  redis.call('DEL', entry[1])
end
-- due: {zset, member, delay, queue}; a negative delay means: nothing more is to be done. What was woken while its
-- writer was at work (wake.lua) may have been read too early: it is due now, whatever the writer thinks.
for _, entry in ipairs(change.due) do
  redis.call('HDEL', 'th:claims', entry[2])
  redis.call('ZREM', 'th:parked', entry[2])
  if redis.call('SISMEMBER', 'th:woken', entry[2]) == 1 then entry[3] = 0 end
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
  if redis.call('EXISTS', 'th:lease:' .. entry[2]) == 1 then redis.call('SADD', 'th:woken', entry[2]) end
  change.woken[#change.woken + 1] = entry[3]
end
for _, queue in ipairs(change.woken) do redis.call('PUBLISH', 'th:wake', queue) end
for _, line in ipairs(change.log) do news[line[3]] = true end
for job in pairs(news) do redis.call('PUBLISH', 'th:news', job) end
return {'ok', tostring(now)}
