-- Takes a mark over from the request that we saw there, and from no other.
-- KEYS: mark   ARGV: id we saw, our id, milliseconds it lives   Returns 1, or 0 when somebody else was faster.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
