-- A record and the time of reading it, in one answer: MULTI would be four commands and twice the work of the client.
-- KEYS: record   Returns {{seconds, microseconds}, {field, value, …}}.
return {redis.call('TIME'), redis.call('HGETALL', KEYS[1])}
