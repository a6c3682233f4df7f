-- Reserves the next turns of a steady pace, for calls of one process.
-- KEYS: pace   ARGV: ms between two calls, turns wanted, how far ahead turns are given, in ms
-- Returns {turns given, ms until the first of them}; 0 turns when the next one is further ahead than that.
local time = redis.call('TIME')
local at = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
local gap, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local next = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), at)
if next - at > tonumber(ARGV[3]) then return {0, string.format('%.3f', next - at)} end
redis.call('SET', KEYS[1], string.format('%.3f', next + wanted * gap), 'PX', math.ceil(next - at + wanted * gap) + 60000)
return {wanted, string.format('%.3f', next - at)}
