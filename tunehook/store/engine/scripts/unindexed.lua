-- Returns those of the records KEYS whose rows in the index were not made of their last revision.
local found = {}
for _, key in ipairs(KEYS) do
  local revisions = redis.call('HMGET', key, 'rev', 'indexed')
  if revisions[1] and revisions[1] ~= revisions[2] then found[#found + 1] = key end
end
return found
