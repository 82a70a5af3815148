-- Marks a job as cancelled that cannot be settled at once (it may exist at the upstream); its step does the rest.
-- Does not change the revision: a create that is under way must still be able to record its outcome.
-- KEYS: record, due   ARGV: member, queue   Returns the stage, or nil when there is no such job.
local stage = redis.call('HGET', KEYS[1], 'stage')
if not stage or stage == 'settled' then return stage end
local time = redis.call('TIME')
if redis.call('HSETNX', KEYS[1], 'cancel', time[1]) == 1 then
  redis.call('HDEL', 'th:claims', ARGV[1])
  redis.call('ZADD', KEYS[2], time[1] * 1000, ARGV[1]) -- also if it is in a line: cancels have their own (claim.lua)
else
  redis.call('ZADD', KEYS[2], 'LT', time[1] * 1000, ARGV[1])
end
if redis.call('EXISTS', 'th:lease:' .. ARGV[1]) == 1 then redis.call('SADD', 'th:woken', ARGV[1]) end
redis.call('PUBLISH', 'th:wake', ARGV[2])
return stage
