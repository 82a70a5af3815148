-- Adds a field to a record that exists, whatever its revision; the field is not part of the document.
-- KEYS: record   ARGV: field, value
if redis.call('HEXISTS', KEYS[1], 'doc') == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PUBLISH', 'th:news', string.match(KEYS[1], '[^:]*$'))
return 1
