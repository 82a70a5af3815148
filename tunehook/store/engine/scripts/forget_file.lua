-- Removes a file's record unless a live job needs it; its bytes on the shelf are noted as leaving.
-- KEYS: record, users, the project's list, expiring, datasets, leaving   ARGV: file id
-- Returns the jobs that need it; none: it is forgotten.
local users = redis.call('SMEMBERS', KEYS[2])
if #users > 0 then return users end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('SADD', KEYS[6], ARGV[1])
return {}
