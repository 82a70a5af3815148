-- Adds an upstream's events to a job's log, each once, and drops the oldest of a long log.
-- KEYS: log, ids that are in the log; a hash of counts, if the new ones are counted
-- ARGV: how many entries are kept, pairs of upstream event id and document; with counts, the field of the hash
-- Returns how many were new.
local kept, added = tonumber(ARGV[1]), 0
for i = 2, #ARGV - 1, 2 do
  if ARGV[i] == '' or redis.call('SADD', KEYS[2], ARGV[i]) == 1 then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', kept, '*', 'doc', ARGV[i + 1])
    added = added + 1
  end
end
-- An upstream is read back to the first known event, so the ids of events that left the log are not needed.
if redis.call('SCARD', KEYS[2]) > 2 * kept then
  redis.call('DEL', KEYS[2])
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
    local id = cjson.decode(entry[2][2]).upstream_event_id
    if id then redis.call('SADD', KEYS[2], id) end
  end
end
if KEYS[3] then redis.call('HINCRBY', KEYS[3], ARGV[#ARGV], added) end
return added
