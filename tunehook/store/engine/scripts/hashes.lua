-- Reads many hashes in one answer: redis-py takes 5 µs of CPU for an answer of its own, 1 µs for a part of one.
-- KEYS: hashes   Returns for each its fields and values, in turn.
local found = {}
for place, key in ipairs(KEYS) do found[place] = redis.call('HGETALL', key) end
return found
