-- Counts a stored part, unless there are too many parts or bytes by now: parts come in parallel.
-- KEYS: record of the upload, its parts   ARGV: part id, bytes, most parts, most bytes, seconds that it is kept
-- Returns "ok", "parts" or "bytes" (too many), or "gone" (no such upload).
if redis.call('HEXISTS', KEYS[1], 'doc') == 0 then return 'gone' end
if redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[3]) then return 'parts' end
local stored = tonumber(redis.call('HGET', KEYS[1], 'stored') or '0')
if stored + tonumber(ARGV[2]) > tonumber(ARGV[4]) then return 'bytes' end
redis.call('HINCRBY', KEYS[1], 'stored', ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return 'ok'
