-- A part that lies on the shelf, counted; unless there are too many or too much of them by now: parts come side by side.
-- KEYS: record of the upload, its parts   ARGV: part, bytes, most parts, most bytes, for how many seconds it is kept
-- Returns "ok", "parts", "bytes", or "gone" where there is no such upload any more.
if redis.call('HEXISTS', KEYS[1], 'doc') == 0 then return 'gone' end
if redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[3]) then return 'parts' end
local stored = tonumber(redis.call('HGET', KEYS[1], 'stored') or '0')
if stored + tonumber(ARGV[2]) > tonumber(ARGV[4]) then return 'bytes' end
redis.call('HINCRBY', KEYS[1], 'stored', ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return 'ok'
