-- The answer of a command that gives thousands of strings, as one: reading each costs redis-py 12 µs, json.loads 0.2 µs.
-- KEYS: what is read   ARGV: the command, what it takes after the key   Returns a JSON list; {} when it is empty.
return cjson.encode(redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2)))
