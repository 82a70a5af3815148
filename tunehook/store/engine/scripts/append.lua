-- Adds an upstream's events to a job's log, each once, and drops the oldest of a long log.
-- KEYS: log, what is in the log (ids, and contents as `=<hash>#<n>`), the job's metrics; a hash of counts, if the new
-- ones are counted
-- ARGV: how many entries are kept, fours of upstream event id, content, document and line of metrics ("": none); with
-- counts, the hash's field
-- Returns how many were new.
local kept, added = tonumber(ARGV[1]), 0
local known, equal = {}, {}
-- Metrics of events that an earlier version read, of which the log alone tells.
local function metrics_before(added)
  local lines = {}
  local entries = redis.call('XRANGE', KEYS[1], '-', '+')
  for number = 1, #entries - added do
    local entry = entries[number]
    if string.find(entry[2][2], '"type":"metrics"', 1, true) then
      local row, count = {}, 0
      for name, value in pairs(cjson.decode(entry[2][2]).data or {}) do
        if type(value) == 'number' and name ~= 'total_steps' then row[name], count = value, count + 1 end
      end
      if row.step and count > 1 then lines[#lines + 1] = cjson.encode(row) .. '\n' end
    end
  end
  return table.concat(lines)
end
local metrics, most = {}, 16 * 1024 * 1024
local function nth(content)
  equal[content] = (equal[content] or 0) + 1
  return content .. '#' .. equal[content]
end
-- Events whose ids are known count first: those of equal content without such an id are more, or have new ids.
for i = 2, #ARGV - 3, 4 do
  local id, content = ARGV[i], ARGV[i + 1]
  if id ~= '' and not known[id] and redis.call('SISMEMBER', KEYS[2], id) == 1 then
    known[id] = true
    if content ~= '' then redis.call('SADD', KEYS[2], nth(content)) end
  end
end
for i = 2, #ARGV - 3, 4 do
  local id, content = ARGV[i], ARGV[i + 1]
  if id == '' or not known[id] then
    if id ~= '' then known[id] = true end
    local name = content ~= '' and nth(content) or id
    if name == '' or redis.call('SADD', KEYS[2], name) == 1 then
      redis.call('XADD', KEYS[1], 'MAXLEN', '~', kept, '*', 'doc', ARGV[i + 2], 'name', name)
      if id ~= '' then redis.call('SADD', KEYS[2], id) end
      added = added + 1
      if ARGV[i + 3] ~= '' then metrics[#metrics + 1] = ARGV[i + 3] end
    end
  end
end
if #metrics > 0 and redis.call('STRLEN', KEYS[3]) < most then
  local before = redis.call('EXISTS', KEYS[3]) == 0 and metrics_before(added) or ''
  redis.call('APPEND', KEYS[3], before .. table.concat(metrics))
end
-- An upstream is read back to the first known event, so the names of events that left the log are not needed.
if redis.call('SCARD', KEYS[2]) > 4 * kept then
  redis.call('DEL', KEYS[2])
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
    local id, name = cjson.decode(entry[2][2]).upstream_event_id, entry[2][4]
    if id then redis.call('SADD', KEYS[2], id) end
    if name and name ~= '' then redis.call('SADD', KEYS[2], name) end
  end
end
if KEYS[4] then redis.call('HINCRBY', KEYS[4], ARGV[#ARGV], added) end
return added
