-- Searches the texts of a project's jobs (job_index.py) for the ids that fit, newest first.
-- KEYS: index, the jobs in the order of acceptance, zsets that the ids must be in
-- ARGV: query (JSON: as in search.lua, text, beginning of the keys of texts, most bytes), the place behind which to go
-- on ("": at the newest)
-- Returns the ids, the place behind which to go on, and 1 when there are no texts behind that.
local query = cjson.decode(ARGV[1])
local newest = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if not newest then return {{}, '', 1} end
local cursor = ARGV[2] == '' and newest + 1 or tonumber(ARGV[2])

local function fits(place, created, id, line, begins)
  if tonumber(place) >= cursor or not string.find(line, query.text, begins, true) then return false end
  if tonumber(created) < query.low or tonumber(created) >= query.high then return false end
  local rest = string.format('%012.0f\n%016.0f\n%s', created, place, id)
  for _, beginning in ipairs(query.beginnings) do
    if not redis.call('ZSCORE', KEYS[1], beginning .. rest) then return false end
  end
  for key = 3, #KEYS do
    if not redis.call('ZSCORE', KEYS[key], id) then return false end
  end
  return true
end

local found, read = {}, 0
for chunk = math.floor((cursor - 1) / 512), math.floor(oldest / 512), -1 do
  local texts = redis.call('GET', query.texts .. string.format('%.0f', chunk)) or ''
  read = read + #texts + 100
  local places, ids = {}, {}
  if string.find(texts, query.text, 1, true) then
    for line in string.gmatch(texts, '[^\n]+') do
      if string.find(line, query.text, 1, true) then
        read = read + query.line
        local place, created, begins, id = string.match(line, '^(%d+)\t(%d+)\t()([^\t]+)')
        -- A text that has changed is there twice.
        if not ids[tonumber(place)] and fits(place, created, id, line, begins) then
          places[#places + 1] = tonumber(place)
          ids[tonumber(place)] = id
        end
      end
    end
  end
  table.sort(places, function(one, other) return one > other end)
  for _, place in ipairs(places) do
    found[#found + 1] = ids[place]
    if #found == query.most then return {found, string.format('%.0f', place), 0} end
  end
  if read > query.bytes then return {found, string.format('%.0f', chunk * 512), chunk * 512 <= tonumber(oldest) and 1 or 0} end
end
return {found, '', 1}
