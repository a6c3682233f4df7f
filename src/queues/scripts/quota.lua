-- Takes a call from a quota that fills up again steadily (GCRA: what is kept is the time at which it is full again).
-- KEYS: quota   ARGV: calls in a window, window in milliseconds
-- Returns {1 or 0 = there was one, calls left, ms until it is full again, ms until there is one (0 = now)}.
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local most, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local every = window / most
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local waits = full + every - now - window
if waits > 0 then return {0, 0, math.ceil(full - now), math.ceil(waits)} end
full = full + every
redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.ceil(full - now))
return {1, math.floor((window - (full - now)) / every + 0.000001), math.ceil(full - now), 0}
