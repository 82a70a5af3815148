-- Searches the rows of an index (job_index.py) for the ids that fit, newest first.
-- KEYS: index, zsets that the ids must be in
-- ARGV: query (JSON: beginnings of rows, low ≤ created < high, most ids, most rows), where to go on ("": at the newest)
-- Returns the ids, where to go on, and 1 when there are no rows behind that.
local query = cjson.decode(ARGV[1])
local index, cursor = KEYS[1], ARGV[2]
local low = string.format('%012.0f', query.low)
local high = string.format('%012.0f', query.high)
local walked, fewest = nil, math.huge
for _, beginning in ipairs(query.beginnings) do
  local rows = redis.call('ZLEXCOUNT', index, '[' .. beginning .. low, '(' .. beginning .. high)
  if rows < fewest then walked, fewest = beginning, rows end
end
local from = '(' .. walked .. (cursor ~= '' and cursor < high and cursor or high)
local rows = redis.call('ZREVRANGEBYLEX', index, from, '[' .. walked .. low, 'LIMIT', 0, query.rows)
local found = {}
for number, row in ipairs(rows) do
  local rest = string.sub(row, #walked + 1)
  local id = string.sub(rest, 31)
  local fits = true
  for _, beginning in ipairs(query.beginnings) do
    fits = fits and (beginning == walked or redis.call('ZSCORE', index, beginning .. rest))
  end
  for key = 2, #KEYS do fits = fits and redis.call('ZSCORE', KEYS[key], id) end
  cursor = string.sub(rest, 1, 29)
  if fits then
    found[#found + 1] = id
    if #found == query.most then return {found, cursor, number == #rows and #rows < query.rows and 1 or 0} end
  end
end
return {found, cursor, #rows < query.rows and 1 or 0}
