-- Adds an upstream's events to a job's log, each once, and drops the oldest of a long log.
-- KEYS: log, what is in the log (ids, and contents as `=<hash>#<n>`); a hash of counts, if the new ones are counted
-- ARGV: how many entries are kept, triples of upstream event id, content and document; with counts, the hash's field
-- Returns how many were new.
local kept, added = tonumber(ARGV[1]), 0
local known, equal = {}, {}
local function nth(content)
  equal[content] = (equal[content] or 0) + 1
  return content .. '#' .. equal[content]
end
-- Events whose ids are known count first: those of equal content without such an id are more, or have new ids.
for i = 2, #ARGV - 2, 3 do
  local id, content = ARGV[i], ARGV[i + 1]
  if id ~= '' and not known[id] and redis.call('SISMEMBER', KEYS[2], id) == 1 then
    known[id] = true
    if content ~= '' then redis.call('SADD', KEYS[2], nth(content)) end
  end
end
for i = 2, #ARGV - 2, 3 do
  local id, content = ARGV[i], ARGV[i + 1]
  if id == '' or not known[id] then
    if id ~= '' then known[id] = true end
    local name = content ~= '' and nth(content) or id
    if name == '' or redis.call('SADD', KEYS[2], name) == 1 then
      redis.call('XADD', KEYS[1], 'MAXLEN', '~', kept, '*', 'doc', ARGV[i + 2], 'name', name)
      if id ~= '' then redis.call('SADD', KEYS[2], id) end
      added = added + 1
    end
  end
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
if KEYS[3] then redis.call('HINCRBY', KEYS[3], ARGV[#ARGV], added) end
return added
