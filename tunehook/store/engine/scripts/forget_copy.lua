-- Removes the record of a copy that no live job trains on; the upstream's file is noted as leaving.
-- KEYS: record, users, copies, leaving   ARGV: copy id, revision, what is leaving (empty: nothing)
-- Returns 1 when it is forgotten.
if redis.call('SCARD', KEYS[2]) > 0 then return 0 end
if redis.call('HGET', KEYS[1], 'rev') ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], ARGV[1])
if ARGV[3] ~= '' then redis.call('SADD', KEYS[4], ARGV[3]) end
return 1
