-- Adds an upstream's events to a job's log, each once.
-- KEYS: log, seen, and where a count is kept beside it: counts
-- ARGV: job id, then pairs of upstream event id and document, then (with counts) the field that is counted
local added = 0
for i = 2, #ARGV - 1, 2 do
  if ARGV[i] == '' or redis.call('SADD', KEYS[2], ARGV[i]) == 1 then
    redis.call('XADD', KEYS[1], '*', 'doc', ARGV[i + 1])
    added = added + 1
  end
end
if KEYS[3] then redis.call('HINCRBY', KEYS[3], ARGV[#ARGV], added) end
if added > 0 then redis.call('PUBLISH', 'th:news', ARGV[1]) end
return added
