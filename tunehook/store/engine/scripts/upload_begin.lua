-- A new upload, unless its project has as many open ones as it may have.
-- KEYS: record, all uploads with parts on the shelf, the open ones of the project
-- ARGV: document, version, id, when it expires (ms), the most there may be, for how many seconds records are kept
-- Returns 1, or 0: one too many.
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[5]) then return 0 end
redis.call('HSET', KEYS[1], 'rev', 1, 'doc', ARGV[1], 'v', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[3])
redis.call('EXPIRE', KEYS[3], ARGV[6])
return 1
