-- A wait goes on: notes when the request is overdue next, and tells whether somebody nudged it in the meantime.
-- KEYS: request, due   ARGV: id, due   Returns the time of the last nudge, or false.
local value = redis.call('GET', KEYS[1])
if not value then return false end
redis.call('ZADD', KEYS[2], 'XX', ARGV[2], ARGV[1])
return string.match(value, '^%d+|[^|]*|[^|]*|(%d+)|')
