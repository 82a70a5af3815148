-- Renews (ARGV[2] > 0, ms) or gives back (0) a lease, if it is still ours.   KEYS: lease   ARGV: token, ms
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if tonumber(ARGV[2]) > 0 then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('DEL', KEYS[1])
