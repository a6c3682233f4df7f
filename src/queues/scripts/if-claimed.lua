-- Acts only for the holder of a claim.
-- KEYS: claim, memory   ARGV: token, what ("extend", "bind", "release"), claim's ms, value, memory's ms
-- Returns 1, or 0 when the claim is somebody else's.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[4] ~= '' then redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5]) end
if ARGV[2] == 'release' then redis.call('DEL', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1
