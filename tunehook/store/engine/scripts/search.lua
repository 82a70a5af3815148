-- Searches the rows of an index (job_index.py) for the ids that fit, newest first, behind a place in the order.
-- KEYS: index, zsets that the ids must be in
-- ARGV: query (JSON: beginnings of rows, low, high, text, most ids, most rows), place ("": from the newest)
-- Returns the ids, the place where the search stopped, and 1 when there are no rows behind it.
local query = cjson.decode(ARGV[1])
local index, cursor = KEYS[1], ARGV[2]
local walked, others, fewest = 'job\n', {}, math.huge
for _, beginning in ipairs(query.beginnings) do
  local rows = redis.call('ZLEXCOUNT', index, '[' .. beginning, '(' .. beginning .. ':')
  if rows < fewest then walked, fewest = beginning, rows end
end
for _, beginning in ipairs(query.beginnings) do
  if beginning ~= walked then others[#others + 1] = beginning end
end
local from = '(' .. walked .. (cursor == '' and ':' or cursor) -- a colon is behind every digit
local rows = redis.call('ZREVRANGEBYLEX', index, from, '[' .. walked, 'LIMIT', 0, query.rows)
local found = {}
for number, row in ipairs(rows) do
  local place, created, id, last = string.match(row, '^(%d+)\n(%d+)\n([^\n]+)()', #walked + 1)
  local at = tonumber(created)
  local fits = not (query.low and at < query.low) and not (query.high and at >= query.high)
  for _, beginning in ipairs(fits and others or {}) do
    fits = fits and redis.call('ZSCORE', index, beginning .. place .. '\n' .. created .. '\n' .. id)
  end
  for key = 2, #KEYS do fits = fits and redis.call('ZSCORE', KEYS[key], id) end
  if fits and query.text then
    if walked ~= 'job\n' then
      local whole = 'job\n' .. place .. '\n'
      row = redis.call('ZRANGEBYLEX', index, '[' .. whole, '(' .. whole .. ':', 'LIMIT', 0, 1)[1] or ''
      last = #whole + #created + #id + 2
    end
    fits = string.find(row, query.text, last, true)
  end
  cursor = place
  if fits then
    found[#found + 1] = id
    if #found == query.most then return {found, cursor, number == #rows and #rows < query.rows and 1 or 0} end
  end
end
return {found, cursor, #rows < query.rows and 1 or 0}
