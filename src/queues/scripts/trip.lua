-- Opens the breaker, or keeps it open for longer. Whoever comes second in the same outage changes nothing.
-- KEYS: guard   ARGV: now, first ms, most ms, random in [0, 1), ms of quiet after which it begins anew
-- Returns 1 when it was opened by this call, else 0.
local at, since, trips, before = tonumber(ARGV[1]), tonumber(ARGV[1]), 0, redis.call('HGET', KEYS[1], 'breaker')
if before then
  local state, untilMs, n, sinceMs = string.match(before, '^(%a+)|(%d+)|(%d+)|(%d+)$')
  if state == 'open' and tonumber(untilMs) > at then return 0 end
  if state == 'open' then since = tonumber(sinceMs) end
  if state == 'open' or at - tonumber(untilMs) < tonumber(ARGV[5]) then trips = tonumber(n) end
end
local ms = math.min(tonumber(ARGV[2]) * 2 ^ math.min(trips, 20), tonumber(ARGV[3]))
ms = math.floor(ms * (0.75 + 0.5 * tonumber(ARGV[4])))
redis.call('HSET', KEYS[1], 'breaker', string.format('open|%.0f|%d|%.0f', at + ms, trips + 1, since))
return 1
