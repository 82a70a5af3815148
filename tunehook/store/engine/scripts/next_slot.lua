-- Returns the job that gets the next slot of an upstream, or nothing. Projects take turns, as in claim.lua; within one,
-- in order of acceptance, jobs of low priority last. Jobs that are not due (parked) hold up no other.
-- KEYS: turns, a zset: project → turn, whose line is the zset `<turns>:<project>`; waiting, a zset of all jobs; due
-- ARGV: a job that does not count, or ''
local PROJECTS, JOBS = 50, 10 -- so many projects are looked at, and jobs of one at a time
local function fits(job)
  return job ~= ARGV[1] and redis.call('ZSCORE', KEYS[3], 'job:' .. job)
end
for _, project in ipairs(redis.call('ZRANGE', KEYS[1], 0, PROJECTS - 1)) do
  local line, start = KEYS[1] .. ':' .. project, 0
  repeat
    local jobs = redis.call('ZRANGE', line, start, start + JOBS - 1)
    start = start + #jobs
    for _, job in ipairs(jobs) do
      if not redis.call('ZSCORE', KEYS[2], job) then -- taken out by a version that knows no lines
        redis.call('ZREM', line, job)
        start = start - 1
      elseif fits(job) then
        return job
      end
    end
  until #jobs < JOBS
  if redis.call('EXISTS', KEYS[1] .. ':' .. project) == 0 then redis.call('ZREM', KEYS[1], project) end
end
for _, job in ipairs(redis.call('ZRANGE', KEYS[2], 0, PROJECTS)) do -- put there by a version that knows no lines
  if fits(job) then return job end
end
return false
