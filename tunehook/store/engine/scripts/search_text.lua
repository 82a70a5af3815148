-- Searches a part of the texts of a project's jobs (job_index.py) for those that fit, the newest texts first.
-- KEYS: index, the jobs in the order of acceptance, zsets that the ids must be in
-- ARGV: query (JSON: as in search.lua, text, beginning of the keys of texts, most bytes, bytes at once), the place
-- behind which jobs are wanted ("": any), the string of texts and the byte in it where to go on ("": at the newest)
-- Returns {place, id, place, id, …} in the order of the texts, the string and the byte where to go on, and 1 when
-- there are no texts behind that.
local query = cjson.decode(ARGV[1])
local newest = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if not newest then return {{}, 0, 0, 1} end
local behind = ARGV[2] == '' and newest + 1 or tonumber(ARGV[2])
local chunk = ARGV[3] == '' and math.floor((behind - 1) / 512) or tonumber(ARGV[3])
local offset, last, found, read = tonumber(ARGV[4]), math.floor(oldest / 512), {}, 0

local function look_at(line)
  local place, created, begins, id = string.match(line, '^(%d+)\t(%d+)\t()([^\t]+)')
  -- An overwritten text is a line without a place.
  if not place or tonumber(place) >= behind or not string.find(line, query.text, begins, true) then return end
  if tonumber(created) < query.low or tonumber(created) >= query.high then return end
  local rest = string.format('%012.0f\n%016.0f\n%s', created, place, id)
  for _, beginning in ipairs(query.beginnings) do
    if not redis.call('ZSCORE', KEYS[1], beginning .. rest) then return end
  end
  for key = 3, #KEYS do
    if not redis.call('ZSCORE', KEYS[key], id) then return end
  end
  found[#found + 1] = place
  found[#found + 1] = id
end

while chunk >= last do
  local texts = redis.call('GETRANGE', query.texts .. string.format('%.0f', chunk), offset, offset + query.piece - 1)
  local stop = #texts
  if stop == query.piece then -- there may be more: to the end of the last whole line
    while stop > 1 and string.byte(texts, stop) ~= 10 do stop = stop - 1 end
  end
  local at = 1
  while true do
    local hit = string.find(texts, query.text, at, true)
    if not hit or hit > stop then break end
    local first = hit
    while first > at and string.byte(texts, first - 1) ~= 10 do first = first - 1 end
    local line_end = string.find(texts, '\n', hit, true) or #texts + 1
    if line_end > stop + 1 then break end
    look_at(string.sub(texts, first, line_end - 1))
    read = read + query.line + 10 * (hit - first)
    at = line_end + 1
  end
  read = read + #texts + 100
  if #texts < query.piece then
    chunk, offset = chunk - 1, 0
    if #found >= 2 * query.most then break end
  else
    offset = offset + stop
  end
  if read > query.bytes then break end
end
return {found, chunk, offset, chunk < last and 1 or 0}
