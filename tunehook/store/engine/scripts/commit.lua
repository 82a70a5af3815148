-- Commits one change of one record, with all that follows from it.
-- Refused unless the record is as its writer read it, the writer holds the lease and the move is an arrow of the table.
-- KEYS: record, lease   ARGV: change (JSON), document, arrows (JSON)
-- Returns {"ok", now_ms}, {"revision"|"lease"|"move"|"newer", what was found}, {"exists"|"occupied", key, value},
-- {"missing", key} or {"claimed", name, whose}. Nothing is written before the last of these checks.
local NONE = {} -- for members that the change does not have
local change = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- guards: {key that must not exist, a value that it may hold} (a repeated call finds the answer of the first)
for _, guard in ipairs(change.guards or NONE) do
  local value = redis.call('GET', guard[1])
  if value and value ~= guard[2] then return {'exists', guard[1], value} end
end
-- needs: keys that must exist (a job is not accepted on a file that is being deleted)
for _, key in ipairs(change.needs or NONE) do
  if redis.call('EXISTS', key) == 0 then return {'missing', key} end
end
-- empty: sets that must have no member (a file is not deleted while live jobs need it)
for _, key in ipairs(change.empty or NONE) do
  local members = redis.call('SMEMBERS', key)
  table.sort(members)
  if #members > 0 then return {'occupied', key, table.concat(members, ', ', 1, math.min(3, #members))} end
end
-- room: {zset of times at which its members expire, the most there may be besides this one}
for _, row in ipairs(change.room or NONE) do
  if redis.call('ZCOUNT', row[1], '(' .. now, '+inf') >= row[2] then return {'occupied', row[1], ''} end
end
-- Limits of a project. unsettled: {zset of its unsettled jobs, zset of all its jobs, the most besides this one}. Jobs that
-- have ended, or were deleted, leave it only here: so the count cannot drift, and an end costs nothing.
for _, row in ipairs(change.unsettled or NONE) do
  if redis.call('ZCARD', row[1]) >= row[3] then
    redis.call('ZDIFFSTORE', row[1], 2, row[1], 'th:settled')
    redis.call('ZINTERSTORE', row[1], 2, row[1], row[2])
    local count = redis.call('ZCARD', row[1])
    if count >= row[3] then return {'occupied', row[1], tostring(count)} end
  end
end
-- counted: {counter, the most besides this one, seconds until it expires}
for _, row in ipairs(change.counted or NONE) do
  local count = redis.call('GET', row[1]) or '0'
  if tonumber(count) >= row[2] then return {'occupied', row[1], count} end
end
-- money: {account of a month, millionths held, millionths spent, budget or -1}
for _, row in ipairs(change.money or NONE) do
  local sums = redis.call('HMGET', row[1], 'held', 'spent')
  local used = tonumber(sums[1] or '0') + tonumber(sums[2] or '0')
  if row[4] >= 0 and used + row[2] + row[3] > row[4] then
    return {'occupied', row[1], string.format('%.0f', row[4] - used)}
  end
end
-- claims: {hash, name, job}: a name that no other job may have (an upstream's job belongs to one job of ours)
for _, claim in ipairs(change.claims or NONE) do
  local whose = redis.call('HGET', claim[1], claim[2])
  if whose and whose ~= claim[3] and string.sub(whose, 1, 6) == 'ftjob-' then return {'claimed', claim[2], whose} end
end
local stored = redis.call('HMGET', KEYS[1], 'rev', 'v', 'stage', 'rows')
local revision, version, from = tonumber(stored[1] or '0'), stored[2], stored[3]
if revision ~= change.revision then return {'revision', tostring(revision)} end
-- an older program leaves a record of a newer version alone
if version and tonumber(version) > change.version then return {'newer', version} end
if change.token and redis.call('GET', KEYS[2]) ~= change.token then return {'lease', ''} end
local woken = {}
if change.stage and from and from ~= change.stage then
  local allowed = cjson.decode(ARGV[3])[from]
  if not (allowed and allowed[change.stage]) then return {'move', from} end
end
-- the number of jobs in each stage, for the metrics
local to = not change.delete and (change.stage or from) or false
if from ~= to then
  if from then redis.call('HINCRBY', 'th:stages', from, -1) end
  if to then redis.call('HINCRBY', 'th:stages', to, 1) end
end

-- listed: {zset, member}: indexes in the order of acceptance
local place
if change.listed then
  local before = redis.call('INCRBY', 'th:sequence', #change.listed) - #change.listed
  for number, entry in ipairs(change.listed or NONE) do
    redis.call('ZADD', entry[1], 'NX', before + number, entry[2])
    if change.index and entry[1] == change.index.order then place = before + number end
  end
end

local fields = {}
if not change.keep then
  revision = revision + 1
  fields = {'rev', revision, 'doc', ARGV[2], 'v', change.version}
  if to then fields[7], fields[8] = 'stage', to end
end
-- index: the rows of a record, its text, and its part in sums. The record keeps them for the next change.
local index = change.index
if index then
  local kept = stored[4] and cjson.decode(stored[4]) or {place = place, rows = {}, sums = {}}
  kept.place = kept.place or tonumber(redis.call('ZSCORE', index.order, index.id) or '')
  local had, now_has, added, removed = {}, {}, {}, {}
  for _, row in ipairs(kept.rows) do had[row] = true end
  for number, row in ipairs(kept.place and index.rows or {}) do
    now_has[number] = string.format('%s%012.0f\n%016.0f\n%s', row, index.created_at, kept.place, index.id)
    if had[now_has[number]] then
      had[now_has[number]] = nil
    else
      added[#added + 1], added[#added + 2] = 0, now_has[number]
    end
  end
  for row in pairs(had) do removed[#removed + 1] = row end
  if #removed > 0 then redis.call('ZREM', index.rows_in, unpack(removed)) end
  if #added > 0 then redis.call('ZADD', index.rows_in, unpack(added)) end
  local digest = redis.sha1hex(index.text)
  if kept.place and digest ~= kept.text then
    local texts = index.texts .. math.floor(kept.place / 512)
    if index.text ~= '' then
      local line = string.format('%.0f\t%.0f\t%s\t%s\n', kept.place, index.created_at, index.id, index.text)
      redis.call('APPEND', texts, line)
    else
      -- Blanks instead of the lines: a chunk that is written anew is 30 KB in the append-only file.
      local chunk, others = redis.call('GET', texts) or '', false
      for from, line in string.gmatch(chunk, '()([^\n]+\n)') do
        if string.match(line, '^%d+\t%d+\t([^\t]+)\t') == index.id then
          redis.call('SETRANGE', texts, from - 1, string.rep('\n', #line))
        else
          others = true
        end
      end
      if not others then redis.call('DEL', texts) end
    end
  end
  local sums = {}
  for _, sum in ipairs(kept.sums) do sums[sum[1] .. ' ' .. sum[2]] = {sum[1], sum[2], -sum[3]} end
  for _, sum in ipairs(index.sums) do
    local before = sums[sum[1] .. ' ' .. sum[2]]
    sums[sum[1] .. ' ' .. sum[2]] = {sum[1], sum[2], sum[3] + (before and before[3] or 0)}
  end
  for _, sum in pairs(sums) do
    if sum[3] ~= 0 then redis.call('HINCRBY', sum[1], sum[2], sum[3]) end
  end
  local keeps = {place = kept.place, rows = now_has, sums = index.sums, text = digest}
  fields[#fields + 1], fields[#fields + 2] = 'indexed', revision
  fields[#fields + 1], fields[#fields + 2] = 'rows', cjson.encode(keeps)
end
if change.delete then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], unpack(fields))
end
for _, field in ipairs(change.stamp or NONE) do redis.call('HSET', KEYS[1], field, now) end
for _, field in ipairs(change.clear or NONE) do redis.call('HDEL', KEYS[1], field) end
for _, claim in ipairs(change.claims or NONE) do redis.call('HSET', claim[1], claim[2], claim[3]) end
for _, row in ipairs(change.counted or NONE) do
  redis.call('INCR', row[1])
  redis.call('EXPIRE', row[1], row[3])
end
for _, row in ipairs(change.money or NONE) do
  redis.call('HINCRBY', row[1], 'held', string.format('%.0f', row[2]))
  redis.call('HINCRBY', row[1], 'spent', string.format('%.0f', row[3]))
end
for _, command in ipairs(change.commands or NONE) do redis.call(unpack(command)) end
for _, entry in ipairs(change.timed or NONE) do
  redis.call('ZADD', entry[1], now + entry[3], entry[2])
  if entry[4] then redis.call('EXPIRE', entry[1], entry[4]) end
end

-- joins: {turns, its project, zset of all jobs of that project, job, what is added to its place}: a line for slots
for _, row in ipairs(change.joins or NONE) do
  local first = redis.call('ZRANGE', row[1], 0, 0, 'WITHSCORES')[2] or 0
  redis.call('ZADD', row[1], 'NX', first + 0.5, row[2]) -- after the one whose turn it is, before its next
  local place = redis.call('ZSCORE', row[3], row[4]) or 0
  redis.call('ZADD', row[1] .. ':' .. row[2], 'NX', place + row[5], row[4])
end
-- leaves: {zset of waiting jobs, turns, its project, job, 1 if it got a slot, else 0}
for _, row in ipairs(change.leaves or NONE) do
  if redis.call('ZREM', row[1], row[4]) == 1 then
    local line = row[2] .. ':' .. row[3]
    redis.call('ZREM', line, row[4])
    if redis.call('EXISTS', line) == 0 then redis.call('ZREM', row[2], row[3])
    elseif row[5] == 1 then redis.call('ZINCRBY', row[2], 1, row[3]) end
  end
end

-- freed: {set of jobs, zset, queue}: all of them are due now, and the set is emptied
for _, entry in ipairs(change.freed or NONE) do
  for _, id in ipairs(redis.call('SMEMBERS', entry[1])) do
    change.soon = change.soon or {}
    change.soon[#change.soon + 1] = {entry[2], 'job:' .. id, entry[3]}
  end
  redis.call('DEL', entry[1])
end
-- due: {zset, member, delay (ms; negative: never), queue}. A member that was woken while its writer worked (plan.lua)
-- is due now, whatever the writer plans: it may have read too early.
local members, woken_early = {}, {}
for index, entry in ipairs(change.due_entries or NONE) do members[index] = entry[2] end
if #members > 0 and not (index and change.revision == 0) then -- nothing is known yet about a new job
  redis.call('HDEL', 'th:claims', unpack(members))
  redis.call('ZREM', 'th:parked', unpack(members))
  woken_early = redis.call('SMISMEMBER', 'th:woken', unpack(members))
end
for index, entry in ipairs(change.due_entries or NONE) do
  if woken_early[index] == 1 then entry[3] = 0 end
  if entry[3] < 0 then
    redis.call('ZREM', entry[1], entry[2])
  else
    redis.call('ZADD', entry[1], now + entry[3], entry[2])
    if entry[3] < 1000 then woken[#woken + 1] = entry[4] end
  end
end
-- soon: {zset, member, queue}: due now, even if planned for later
for _, entry in ipairs(change.soon or NONE) do
  redis.call('ZADD', entry[1], 'LT', now, entry[2])
  if redis.call('EXISTS', 'th:lease:' .. entry[2]) == 1 then redis.call('SADD', 'th:woken', entry[2]) end
  woken[#woken + 1] = entry[3]
end
for _, queue in ipairs(woken) do redis.call('PUBLISH', 'th:wake', queue) end
return {'ok', tostring(now)}
