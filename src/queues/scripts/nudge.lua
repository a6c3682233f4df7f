-- Somebody says that it is worth looking at a request. Changes nothing but the time of the nudge.
-- KEYS: request   ARGV: now   Returns {stage, phase} or false.
local value = redis.call('GET', KEYS[1])
if not value then return false end
local head, stage, phase, nudged, tail = string.match(value, '^(%d+|([^|]*)|([^|]*)|)(%d+)(|.*)$')
local at = math.max(tonumber(nudged) + 1, tonumber(ARGV[1]))
redis.call('SET', KEYS[1], head .. string.format('%.0f', at) .. tail)
return {stage, phase}
