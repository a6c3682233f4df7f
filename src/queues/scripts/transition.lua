-- Writes a request only if nobody wrote it since we read it, with its history line, its place in the indexes and the
-- wish to be looked at, in one step. Optionally only while this worker still holds its job (the fence).
-- KEYS: request, history, due, index it leaves, index it enters, pks, BullMQ lock, uncleaned, feed,
--       then sets that want to know
-- ARGV: id, version we read, stage, phase, now, json, history line, due ("" = none), created,
--       lock token ("" = no fence), request_pk ("" = none), "set" or "drop" the request_pk, "1" = nudge,
--       version to get past ("" = none), what names this state in the JSON,
--       lines of the list that are in the JSON now, so that it goes ("" = the list stays and gets the line),
--       "add" or "drop" it among the uncleaned ("" = as it is), what the feed is told ("" = nothing)
-- Returns {version, nudged}; 0 when somebody else wrote; -1 when the lock is not ours.
local value = redis.call('GET', KEYS[1])
local version, nudged = '0', '0'
if value then version, nudged = string.match(value, '^(%d+)|[^|]*|[^|]*|(%d+)|') end
local following = math.max(tonumber(ARGV[2]), tonumber(ARGV[14]) or 0) + 1
if version ~= ARGV[2] then
  -- A client sends a command again whose answer it lost: then this very state is there already.
  if value and tonumber(version) == following and string.find(value, ARGV[15], 1, true) then return {version, nudged} end
  return 0
end
if ARGV[10] ~= '' and redis.call('GET', KEYS[7]) ~= ARGV[10] then return -1 end
if ARGV[16] ~= '' and redis.call('LLEN', KEYS[2]) ~= tonumber(ARGV[16]) then return 0 end
version = tostring(following)
if ARGV[13] == '1' then nudged = string.format('%.0f', math.max(tonumber(nudged) + 1, tonumber(ARGV[5]))) end
redis.call('SET', KEYS[1], table.concat({version, ARGV[3], ARGV[4], nudged, ARGV[5], ARGV[6]}, '|'))
if ARGV[16] ~= '' then redis.call('DEL', KEYS[2])
elseif redis.call('RPUSH', KEYS[2], ARGV[7]) > 1000 then redis.call('LTRIM', KEYS[2], -900, -1) end
if ARGV[8] == '' then redis.call('ZREM', KEYS[3], ARGV[1]) else redis.call('ZADD', KEYS[3], ARGV[8], ARGV[1]) end
if KEYS[4] ~= KEYS[5] then redis.call('ZREM', KEYS[4], ARGV[1]) end
if KEYS[4] ~= KEYS[5] or ARGV[2] == '0' then redis.call('ZADD', KEYS[5], ARGV[9], ARGV[1]) end
if ARGV[11] ~= '' then
  if ARGV[12] == 'set' then redis.call('HSET', KEYS[6], ARGV[11], ARGV[1]) else redis.call('HDEL', KEYS[6], ARGV[11]) end
end
if ARGV[17] == 'add' then redis.call('SADD', KEYS[8], ARGV[1])
elseif ARGV[17] == 'drop' then redis.call('SREM', KEYS[8], ARGV[1]) end
if ARGV[18] ~= '' then redis.call('XADD', KEYS[9], 'MAXLEN', '~', 10000, '*', 'e', ARGV[18]) end
for i = 10, #KEYS do redis.call('SADD', KEYS[i], ARGV[1]) end
return {version, nudged}
