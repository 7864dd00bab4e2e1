-- backup.lua - all records out, and into an empty registry.  A part of functions.lua.
--
--   maas:backup             id of the backup that is under way; expires
--   maas:backup:keys        list of the keys that it has copied; each copy is maas:backup:KEY
--   maas:restore            id of the restore that is under way; expires
--   maas:restore:keys       list of the keys that have come; each is maas:restore:KEY until the end
--   maas:restore:count      how many pages have come
--
-- A backup begins with a copy of all records, made in one step, so that what is read page by page
-- fits together; chunks are not copied, but none is let go meanwhile (maas_collect).  Records are
-- taken as what they are to Redis (hash, stream ...), whatever they mean: a new kind of record needs
-- nothing here.  A restore becomes visible in one step, or not at all.

local PAGE_BYTES = 256 * 1024        -- and one part more: a page fits into a message of 1 MiB
local PART = 64                     -- elements of a large record that are taken at once
local ENTRIES = 2                   -- of a stream: each has up to a quarter of a MiB
local SLICES = 16                   -- of a list: each has 16 KiB
local FORGET = 200                  -- copies that are removed in one step

-- What is no record: it lives for seconds, or belongs to this store or this Redis alone.
local LEFT_OUT = { 'maas:chunk:', 'maas:file:', 'maas:process', 'maas:events', 'maas:seq',
    'maas:backup', 'maas:restore', 'maas:key:', 'maas:claim:', 'maas:counting', 'maas:library' }

local function is_record(key)
    for _, prefix in ipairs(LEFT_OUT) do
        if key:sub(1, #prefix) == prefix then
            return false
        end
    end
    return true
end

local function copy_records()
    local cursor = '0'
    repeat
        local found = redis.call('SCAN', cursor, 'MATCH', 'maas:*', 'COUNT', 1000)
        cursor = found[1]
        for _, key in ipairs(found[2]) do
            if is_record(key) and redis.call('COPY', key, 'maas:backup:' .. key) == 1 then
                redis.call('RPUSH', 'maas:backup:keys', key)
            end
        end
    until cursor == '0'
end

-- id ttl_ms -> OK
redis.register_function('maas_backup_begin', function(_, a)
    local other = redis.call('GET', 'maas:backup')
    if other == a[1] then
        return 'OK'
    end
    if other or redis.call('EXISTS', 'maas:backup:keys') == 1 then
        return fail('BUSY', 'another backup is under way, or has just ended; try again')
    end
    repeat until not artifacts.count_old()
    copy_records()
    redis.call('SET', 'maas:backup', a[1], 'PX', a[2])
    return 'OK'
end)

local function not_under_way(what, id, ttl_ms)
    if redis.call('GET', what) ~= id then
        return fail('CONFLICT', 'it has taken too long and was given up')
    end
    redis.call('PEXPIRE', what, ttl_ms)
    return nil
end

-- Some elements of a record from the cursor on, as arguments for what writes them, and where to go
-- on; '0': that was all.
local function read_part(key, kind, cursor)
    if kind == 'string' then
        return '0', { redis.call('GET', key) }
    elseif kind == 'list' then
        local from = tonumber(cursor)
        local part = redis.call('LRANGE', key, from, from + SLICES - 1)
        return #part == SLICES and text(from + SLICES) or '0', part
    elseif kind == 'stream' then
        local part = redis.call('XRANGE', key, cursor == '0' and '-' or '(' .. cursor, '+', 'COUNT', ENTRIES)
        return #part == ENTRIES and part[#part][1] or '0', part
    end
    local scan = kind == 'hash' and 'HSCAN' or kind == 'set' and 'SSCAN' or 'ZSCAN'
    local found = redis.call(scan, key, cursor, 'COUNT', PART)
    return found[1], found[2]
end

local function size_of(part)
    local bytes = 0
    for _, element in ipairs(part) do
        bytes = bytes + (type(element) == 'table' and size_of(element) or #element)
    end
    return bytes
end

-- id index cursor ttl_ms -> {index, cursor, page}; no page: that was all
redis.register_function('maas_backup_read', function(_, a)
    local err = not_under_way('maas:backup', a[1], a[4])
    if err then
        return err
    end
    local index, cursor, page, bytes = tonumber(a[2]), a[3], {}, 0
    local keys = redis.call('LRANGE', 'maas:backup:keys', index, index + FORGET - 1)
    local at = 1
    while keys[at] and bytes < PAGE_BYTES do
        local key = 'maas:backup:' .. keys[at]
        local kind, part = redis.call('TYPE', key).ok, nil
        cursor, part = read_part(key, kind, cursor)
        page[#page + 1] = { keys[at], kind, redis.call('PTTL', key), part }
        bytes = bytes + size_of(part) + #key
        if cursor == '0' then
            at = at + 1
        end
    end
    return { text(index + at - 1), cursor, #page > 0 and cmsgpack.pack(page) or '' }
end)

-- id cursor ttl_ms -> {cursor, digests}; cursor '0': that was all
redis.register_function('maas_backup_chunks', function(_, a)
    local err = not_under_way('maas:backup', a[1], a[3])
    if err then
        return err
    end
    local found = redis.call('HSCAN', 'maas:backup:maas:kept', a[2], 'COUNT', PART)
    local digests = {}
    for i = 1, #found[2], 2 do
        digests[#digests + 1] = found[2][i]
    end
    return { found[1], table.concat(digests) }
end)

-- id -> OK
redis.register_function(when_full('maas_backup_end', function(_, a)
    if redis.call('GET', 'maas:backup') == a[1] then
        redis.call('DEL', 'maas:backup')
    end
    return 'OK'
end))

-- Some of what a backup or a restore that is over has left.  true: there was something.
local function forget(what)
    if redis.call('EXISTS', what) == 1 then
        return false
    end
    local keys = redis.call('LPOP', what .. ':keys', FORGET)
    for _, key in ipairs(keys or {}) do
        redis.call('UNLINK', what .. ':' .. key)
    end
    return keys and #keys > 0
end

function artifacts.forget_copies()
    return forget('maas:backup') or forget('maas:restore')
end

-- ---- restore

-- nil, or an error reply: there is something that would be lost.
local function not_empty()
    for _, key in ipairs({ 'maas:models', 'maas:datasets', 'maas:trainings', 'maas:kept', 'maas:uploads',
        'maas:seq' }) do
        if redis.call('EXISTS', key) == 1 then
            return fail('CONFLICT', 'this registry is not empty; restore into a new one')
        end
    end
    return nil
end

-- id ttl_ms -> OK
redis.register_function('maas_restore_begin', function(_, a)
    local other = redis.call('GET', 'maas:restore')
    if other == a[1] then
        return 'OK'
    end
    local err = not_empty()
    if err then
        return err
    end
    if other or redis.call('EXISTS', 'maas:restore:keys') == 1 then
        return fail('BUSY', 'another restore is under way, or has just ended; try again')
    end
    redis.call('SET', 'maas:restore', a[1], 'PX', a[2])
    redis.call('SET', 'maas:restore:count', 0)
    return 'OK'
end)

local WRITE = { string = 'SET', hash = 'HSET', set = 'SADD', list = 'RPUSH' }

local function write_part(key, kind, part)
    if kind == 'stream' then
        for _, entry in ipairs(part) do
            redis.call('XADD', key, entry[1], unpack(entry[2]))
        end
    elseif kind == 'zset' then
        for i = 1, #part, 2 do
            redis.call('ZADD', key, part[i + 1], part[i])
        end
    elseif WRITE[kind] and #part > 0 then
        redis.call(WRITE[kind], key, unpack(part))
    end
end

local function restore_record(key, kind, pttl, part)
    local to = 'maas:restore:' .. key
    if redis.call('EXISTS', to) == 0 then
        redis.call('RPUSH', 'maas:restore:keys', key)
    end
    write_part(to, kind, part)
    if pttl >= 0 then
        redis.call('PEXPIRE', to, pttl)
    end
end

-- true when it is a list of records as maas_backup_read makes them
local function is_page(page)
    if type(page) ~= 'table' then
        return false
    end
    for _, r in ipairs(page) do
        if type(r) ~= 'table' or type(r[1]) ~= 'string' or r[1]:sub(1, 5) ~= 'maas:' or
            not is_record(r[1]) or type(r[3]) ~= 'number' or type(r[4]) ~= 'table' then
            return false
        end
    end
    return true
end

-- id number page ttl_ms -> OK.  Pages come as 1, 2, 3 ...; one that comes again changes nothing.
redis.register_function('maas_restore_put', function(_, a)
    local err = not_under_way('maas:restore', a[1], a[4])
    if err then
        return err
    end
    local number, last = tonumber(a[2]), tonumber(redis.call('GET', 'maas:restore:count'))
    if number <= last then
        return 'OK'
    end
    local fine, page = pcall(cmsgpack.unpack, a[3])
    if number ~= last + 1 or not fine or not is_page(page) then
        return fail('INVALID', 'this is no page of a backup, or not the next one')
    end
    for _, r in ipairs(page) do
        restore_record(r[1], r[2], r[3], r[4])
    end
    redis.call('SET', 'maas:restore:count', a[2])
    return 'OK'
end)

-- nil, or an error reply: a chunk that something keeps has not come.
local function chunk_missing()
    local cursor = '0'
    repeat
        local found = redis.call('HSCAN', 'maas:restore:maas:kept', cursor, 'COUNT', 1000)
        cursor = found[1]
        for i = 1, #found[2], 2 do
            if artifacts.chunk_size(found[2][i]) == 0 then
                return fail('CONFLICT', 'the backup is not complete: a chunk is missing')
            end
        end
    until cursor == '0'
    return nil
end

-- All at once: the chunks are kept, the records where they belong.
local function restore_all()
    for _, digest in ipairs(redis.call('HKEYS', 'maas:restore:maas:kept')) do
        redis.call('PERSIST', 'maas:chunk:' .. digest)
        redis.call('PERSIST', 'maas:file:' .. digest)
    end
    for _, key in ipairs(redis.call('LRANGE', 'maas:restore:keys', 0, -1)) do
        if redis.call('EXISTS', 'maas:restore:' .. key) == 1 then
            redis.call('RENAME', 'maas:restore:' .. key, key)
        end
    end
    redis.call('DEL', 'maas:restore', 'maas:restore:keys', 'maas:restore:count')
    redis.call('INCR', 'maas:seq')     -- a gap: who follows the events takes a snapshot
    event('restored', '')
end

-- id pages ttl_ms -> the catalog's number
redis.register_function('maas_restore_end', function(_, a)
    if redis.call('GET', 'maas:restored') == a[1] then
        return catalog_seq()    -- the same request, sent again
    end
    local err = not_under_way('maas:restore', a[1], a[3]) or not_empty()
    if not err and redis.call('GET', 'maas:restore:count') ~= a[2] then
        err = fail('INVALID', 'the backup is not complete: pages are missing')
    end
    err = err or chunk_missing()
    if err then
        return err
    end
    restore_all()
    redis.call('SET', 'maas:restored', a[1], 'PX', DAY_MS)
    return catalog_seq()
end)

-- id -> OK
redis.register_function(when_full('maas_restore_drop', function(_, a)
    if redis.call('GET', 'maas:restore') == a[1] then
        redis.call('DEL', 'maas:restore')
    end
    return 'OK'
end))
