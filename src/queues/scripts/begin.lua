-- A worker takes a request up: reads the record and, where "start" is legal, marks it running, in one step.
-- KEYS: request, history, due, feed
-- ARGV: id, stage, now, due, history line, legal phases as ",a,b,", what the feed is told
-- Returns {version, stage, phase, nudged, updated, json} as it is afterwards, or false.
local value = redis.call('GET', KEYS[1])
if not value then return false end
local version, stage, phase, nudged, updated, json = string.match(value, '^(%d+)|([^|]*)|([^|]*)|(%d+)|(%d+)|(.*)$')
if stage == ARGV[2] and string.find(ARGV[6], ',' .. phase .. ',', 1, true) then
  version, phase, updated = tostring(tonumber(version) + 1), 'running', ARGV[3]
  redis.call('SET', KEYS[1], table.concat({version, stage, phase, nudged, updated, json}, '|'))
  redis.call('RPUSH', KEYS[2], ARGV[5])
  redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1])
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', 10000, '*', 'e', ARGV[7])
end
return {version, stage, phase, nudged, updated, json}
