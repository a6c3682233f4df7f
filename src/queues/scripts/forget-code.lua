-- Forgets a code, and not one that came in its place.
-- KEYS: code   ARGV: what was there, encrypted   Returns 1, or 0 when something else is there.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
