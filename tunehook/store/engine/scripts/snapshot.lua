-- Reads keys with their values, types and expiry, all at one moment.
-- KEYS: the keys to read; none: every key of ours but leases and clocks.
-- Returns (key, type, when it expires in ms or 0, value as JSON, last id of a stream or "") for each key that exists.
local names = KEYS
if #names == 0 then
    local seen, cursor = {}, '0'
    names = {}
    repeat
        local page = redis.call('SCAN', cursor, 'MATCH', 'th:*', 'COUNT', 1000)
        cursor = page[1]
        for _, name in ipairs(page[2]) do
            if not seen[name] then
                seen[name] = true
                names[#names + 1] = name
            end
        end
    until cursor == '0'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local readers = {
    string = function(name) return redis.call('GET', name) end,
    hash = function(name) return redis.call('HGETALL', name) end,
    set = function(name) return redis.call('SMEMBERS', name) end,
    zset = function(name) return redis.call('ZRANGE', name, 0, -1, 'WITHSCORES') end,
    list = function(name) return redis.call('LRANGE', name, 0, -1) end,
    stream = function(name) return redis.call('XRANGE', name, '-', '+') end,
}
local found = {}
for _, name in ipairs(names) do
    local kind = redis.call('TYPE', name)['ok']
    if readers[kind] and not string.find(name, '^th:lease:') and not string.find(name, '^th:clock') then
        local left, last = redis.call('PTTL', name), ''
        if kind == 'stream' then
            local about = redis.call('XINFO', 'STREAM', name)
            for place = 1, #about, 2 do
                if about[place] == 'last-generated-id' then last = about[place + 1] end
            end
        end
        local expires = left > 0 and string.format('%.0f', now + left) or '0'
        found[#found + 1] = {name, kind, expires, cjson.encode(readers[kind](name)), last}
    end
end
return found
