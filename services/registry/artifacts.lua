-- artifacts.lua - chunks, manifests and uploads: what is kept, by whom, and what is let go.  A part
-- of functions.lua, whose locals and list of keys hold here too.
--
--   maas:chunk:DIGEST       a chunk's bytes; with --artifact-store=file:DIR instead
--   maas:file:DIGEST        the length of its file, 0 while that is being written; "gone:SWEEP" while
--                           it is being removed.  Both expire unless somebody keeps the chunk.
--   maas:kept               hash digest -> how many manifests and uploads keep the chunk
--   maas:manifest:DIGEST    hash size, chunks (32 bytes each, in order), refs (how many versions
--                           and files of data sets have this artifact)
--   maas:released           list of digests, up to SLICE together: each has lost one keeper
--   maas:counted            the layout before had no counts; there: all have them now
--   maas:upload:ID          hash size (0: not said), created_ms, place ("NAME:N" once committed)
--   maas:upload:ID:slots    hash number of a MiB -> its pieces, the oldest first, each PIECE bytes:
--                           offset within (4), length (4), digest of its chunk (32)
--   maas:uploads            zset of upload ids by the time when nobody waits for them any more
--
-- A chunk that nobody keeps is not deleted but expires, a day later by default: so one that an
-- upload has put, or found there, stays until that upload is committed, whatever is deleted
-- meanwhile.  Functions are atomic, so there is no other way for the two to meet.

local SLICE = 512 * 32
local PIECE = 40
local PIECES_MAX = 64               -- of one MiB of an upload
local UPLOADS_MAX = 1000
local COLLECT_SLOTS = 64            -- of an upload that is over, in one call
local PINNED = 1000000              -- refs of an artifact that was there before they were counted

-- ---- chunks

function artifacts.chunk_size(digest)
    local size = redis.call('STRLEN', 'maas:chunk:' .. digest)
    if size == 0 then
        size = tonumber(redis.call('GET', 'maas:file:' .. digest) or '') or 0
    end
    return size
end

local function keep_chunk(digest)
    redis.call('HINCRBY', 'maas:kept', digest, 1)
    if redis.call('PERSIST', 'maas:chunk:' .. digest) == 0 then
        redis.call('PERSIST', 'maas:file:' .. digest)
    end
end

local function keep_chunks(digests)
    for at = 1, #digests, 32 do
        keep_chunk(digests:sub(at, at + 31))
    end
end

local function leave_chunk(digest, ttl_ms)
    if redis.call('HINCRBY', 'maas:kept', digest, -1) > 0 then
        return
    end
    redis.call('HDEL', 'maas:kept', digest)
    redis.call('PEXPIRE', 'maas:chunk:' .. digest, ttl_ms)
    redis.call('PEXPIRE', 'maas:file:' .. digest, ttl_ms)
end

-- To be left by maas_collect, a slice at a time.
local function leave_later(digests)
    for at = 1, #digests, SLICE do
        redis.call('RPUSH', 'maas:released', digests:sub(at, at + SLICE - 1))
    end
end

-- What is not kept lives for ttl_ms from now on.
local function renew(key, ttl_ms)
    if redis.call('PTTL', key) >= 0 then
        redis.call('PEXPIRE', key, ttl_ms)
    end
end

-- digest -> 1 when there is such a chunk, or should be
redis.register_function{
    function_name = 'maas_chunk_known',
    flags = { 'no-writes' },
    callback = function(_, a)
        return redis.call('EXISTS', 'maas:chunk:' .. a[1]) + redis.call('HEXISTS', 'maas:kept', a[1])
    end,
}

-- digest data ttl_ms -> OK, or REPAIRED when other bytes were kept under this digest
redis.register_function('maas_chunk_put', function(_, a)
    local key = 'maas:chunk:' .. a[1]
    local old = redis.call('GET', key)
    if not old then
        redis.call('SET', key, a[2], 'PX', a[3])
        if redis.call('HEXISTS', 'maas:kept', a[1]) == 1 then
            redis.call('PERSIST', key)
        end
        return 'OK'
    end
    renew(key, a[3])
    if old ~= a[2] then
        redis.call('SET', key, a[2], 'KEEPTTL')
        return 'REPAIRED'
    end
    return 'OK'
end)

-- digest ttl_ms -> OK.  A file is about to be written, or looked at: from now on nobody removes it.
redis.register_function('maas_file_begin', function(_, a)
    local key = 'maas:file:' .. a[1]
    if redis.call('SET', key, '0', 'NX', 'PX', a[2]) then
        return 'OK'
    end
    if redis.call('GET', key):sub(1, 5) == 'gone:' then
        return fail('BUSY', 'this chunk is being removed; try again')
    end
    renew(key, a[2])
    return 'OK'
end)

-- digest length ttl_ms -> OK.  The file is there, whole.
redis.register_function('maas_file_end', function(_, a)
    local key = 'maas:file:' .. a[1]
    if not redis.call('SET', key, a[2], 'XX', 'KEEPTTL') then
        redis.call('SET', key, a[2], 'PX', a[3])
    end
    if redis.call('HEXISTS', 'maas:kept', a[1]) == 1 then
        redis.call('PERSIST', key)
    end
    return 'OK'
end)

-- What fn says of each digest (32 bytes) as a text of '0' and '1'.
local function of_each(digests, fn)
    local out = {}
    for at = 1, #digests, 32 do
        out[#out + 1] = fn('maas:file:' .. digests:sub(at, at + 31)) and '1' or '0'
    end
    return table.concat(out)
end

-- digests sweep ttl_ms -> '1' for each whose file this sweep may remove now: it is nobody's
redis.register_function('maas_files_condemn', function(_, a)
    return of_each(a[1], function(key)
        return redis.call('SET', key, 'gone:' .. a[2], 'NX', 'PX', a[3])
    end)
end)

-- digests sweep -> '1' for each that is still so
redis.register_function{
    function_name = 'maas_files_condemned',
    flags = { 'no-writes' },
    callback = function(_, a)
        return of_each(a[1], function(key)
            return redis.call('GET', key) == 'gone:' .. a[2]
        end)
    end,
}

-- digests sweep -> '1' for each that may be put again
redis.register_function('maas_files_removed', function(_, a)
    return of_each(a[1], function(key)
        return redis.call('GET', key) == 'gone:' .. a[2] and redis.call('DEL', key) == 1
    end)
end)

-- ---- manifests

-- Counts an artifact of the layout before, whose users nobody has counted: it stays for good.
local function adopt(manifest)
    local chunks = redis.call('HGET', manifest, 'chunks')
    if chunks and redis.call('HSETNX', manifest, 'refs', PINNED) == 1 then
        keep_chunks(chunks)
    end
end

-- One who has it is known, of the layout before (layout.lua).
function artifacts.count(digest)
    local manifest = 'maas:manifest:' .. digest
    local chunks = redis.call('HGET', manifest, 'chunks')
    if chunks and redis.call('HINCRBY', manifest, 'refs', 1) == 1 then
        keep_chunks(chunks)
    end
end

-- nil when the artifact can be held, else an error reply.
function artifacts.check(digest, size, chunks)
    local count = math.floor(#chunks / 32)
    size = tonumber(size)
    if #chunks % 32 ~= 0 or count ~= math.ceil(size / CHUNK_BYTES) then
        return fail('INVALID', 'the number of chunks does not fit the size')
    end
    for i = 1, count do
        local expected = math.min(CHUNK_BYTES, size - (i - 1) * CHUNK_BYTES)
        if artifacts.chunk_size(chunks:sub(32 * i - 31, 32 * i)) ~= expected then
            return fail('CONFLICT', 'chunk ' .. (i - 1) .. ' of the artifact is not there; upload it again')
        end
    end
    local kept = redis.call('HGET', 'maas:manifest:' .. digest, 'chunks')
    if kept and kept ~= chunks then
        return fail('CONFLICT', 'an artifact with this digest is there already, in other chunks')
    end
    return nil
end

-- One more version or file has the artifact, which was checked.
function artifacts.hold(digest, size, chunks)
    local manifest = 'maas:manifest:' .. digest
    if redis.call('EXISTS', manifest) == 1 then
        adopt(manifest)
        redis.call('HINCRBY', manifest, 'refs', 1)
        return
    end
    keep_chunks(chunks)
    redis.call('HSET', manifest, 'size', text(tonumber(size)), 'chunks', chunks, 'refs', 1)
end

-- One fewer has it.  The last: it is gone, and its chunks in steps.
function artifacts.release(digest)
    local manifest = 'maas:manifest:' .. digest
    local chunks = redis.call('HGET', manifest, 'chunks')
    if not chunks then
        return
    end
    adopt(manifest)
    if redis.call('HINCRBY', manifest, 'refs', -1) == 0 then
        redis.call('DEL', manifest)
        leave_later(chunks)
    end
end

-- Calls fn(digest, size, chunks) for each file (versions.c packs them); what it returns ends it.
local function each_part(parts, fn)
    local at = 1
    while at <= #parts do
        local high, low, length, digest = struct.unpack('>I4I4I4c32', parts, at)
        local chunks = parts:sub(at + 44, at + 43 + length)
        local err = fn(digest, text(high * 4294967296 + low), chunks)
        if err then
            return err
        end
        at = at + 44 + length
    end
    return nil
end

function artifacts.check_parts(parts)
    return each_part(parts, artifacts.check)
end

-- The main file and the others, which were checked; the digests of all.
function artifacts.hold_all(digest, size, chunks, parts)
    local digests = { digest }
    artifacts.hold(digest, size, chunks)
    each_part(parts, function(other, ...)
        artifacts.hold(other, ...)
        digests[#digests + 1] = other
    end)
    return table.concat(digests)
end

-- What has held these is gone.
function artifacts.release_all(digests)
    for at = 1, #digests, 32 do
        artifacts.release(digests:sub(at, at + 31))
    end
end

-- ---- uploads

local function upload_key(id)
    return 'maas:upload:' .. id
end

-- nil when pieces may be added, else an error reply.
local function not_open(id)
    local u = redis.call('HMGET', upload_key(id), 'size', 'place')
    if not u[1] then
        return fail('NOT_FOUND', "there is no upload '" .. id .. "'; it may have been given up")
    end
    if u[2] then
        return fail('CONFLICT', "the upload '" .. id .. "' was committed already")
    end
    return nil
end

-- Pieces that the new one covers go; the last one written counts where others overlap.
local function add_piece(pieces, within, length, digest)
    local out, gone = {}, {}
    for at = 1, #pieces, PIECE do
        local piece = pieces:sub(at, at + PIECE - 1)
        local from, len, old = struct.unpack('>I4I4c32', piece)
        if from >= within and from + len <= within + length then
            gone[#gone + 1] = old
        else
            out[#out + 1] = piece
        end
    end
    out[#out + 1] = struct.pack('>I4I4c32', within, length, digest)
    return out, table.concat(gone)
end

-- id size ttl_ms -> OK
redis.register_function('maas_upload_begin', function(_, a)
    local key = upload_key(a[1])
    if redis.call('EXISTS', key) == 1 then
        return 'OK'    -- the same request, sent again
    end
    if redis.call('ZCARD', 'maas:uploads') >= UPLOADS_MAX then
        return fail('BUSY', UPLOADS_MAX .. ' uploads are open, which is the limit; try again later')
    end
    local now = now_ms()
    redis.call('HSET', key, 'size', a[2], 'created_ms', text(now))
    redis.call('ZADD', 'maas:uploads', now + tonumber(a[3]), a[1])
    return 'OK'
end)

-- id offset length digest ttl_ms -> OK.  The piece's chunk was put before; it lies in one MiB.
redis.register_function('maas_upload_piece', function(_, a)
    local id, offset, length, digest = a[1], tonumber(a[2]), tonumber(a[3]), a[4]
    local err = not_open(id)
    if err then
        return err
    end
    local size = tonumber(redis.call('HGET', upload_key(id), 'size'))
    if size > 0 and offset + length > size then
        return fail('INVALID', 'the range ends behind the size that was said, ' .. text(size))
    end
    if artifacts.chunk_size(digest) ~= length then
        return fail('CONFLICT', 'the chunk is not there; send the range again')
    end
    local slot, within = text(math.floor(offset / CHUNK_BYTES)), offset % CHUNK_BYTES
    local slots = upload_key(id) .. ':slots'
    local pieces, gone = add_piece(redis.call('HGET', slots, slot) or '', within, length, digest)
    if #pieces > PIECES_MAX then
        return fail('INVALID', 'MiB ' .. slot .. ' has come in ' .. PIECES_MAX ..
            ' pieces already; send it in one')
    end
    keep_chunk(digest)
    leave_later(gone)
    redis.call('HSET', slots, slot, table.concat(pieces))
    redis.call('ZADD', 'maas:uploads', now_ms() + tonumber(a[5]), id)
    return 'OK'
end)

-- id first count ttl_ms -> {size, created_ms, left_ms, place, more, {slot, pieces ...}}
-- Who asks is not gone: the time begins anew.
redis.register_function('maas_upload_get', function(_, a)
    local id, first, count = a[1], tonumber(a[2]), tonumber(a[3])
    local u = redis.call('HMGET', upload_key(id), 'size', 'created_ms', 'place')
    if not u[1] then
        return not_open(id)
    end
    local names, out = {}, {}
    for i = 1, count do
        names[i] = text(first + i - 1)
    end
    local slots = upload_key(id) .. ':slots'
    local found, seen = redis.call('HMGET', slots, unpack(names)), 0
    for i, pieces in ipairs(found) do
        if pieces then
            out[#out + 1] = names[i]
            out[#out + 1] = pieces
        end
    end
    if not u[3] then
        redis.call('ZADD', 'maas:uploads', 'XX', now_ms() + tonumber(a[4]), id)
    end
    return { u[1], u[2], a[4], u[3] or '', redis.call('HLEN', slots), out }
end)

-- It has become a version, or nobody wants it: what it keeps is left by maas_collect.
local function close_upload(id)
    redis.call('ZADD', 'maas:uploads', 0, id)
end

-- ids (with blanks between) place -> nil, or an error reply when one is not open
function artifacts.uploads_open(ids)
    for id in ids:gmatch('%S+') do
        local err = not_open(id)
        if err then
            return err
        end
    end
    return nil
end

function artifacts.uploads_done(ids, place)
    for id in ids:gmatch('%S+') do
        redis.call('HSET', upload_key(id), 'place', place)
        close_upload(id)
    end
end

-- id -> OK
redis.register_function(when_full('maas_upload_drop', function(_, a)
    local err = not_open(a[1])
    if err then
        return err
    end
    redis.call('DEL', upload_key(a[1]))
    close_upload(a[1])
    return 'OK'
end))

-- ---- collecting

-- A part of what the layout before has left without counts.  true: there may be more.
function artifacts.count_old()
    if redis.call('EXISTS', 'maas:counted') == 1 then
        return false
    end
    local cursor = redis.call('GET', 'maas:counting') or '0'
    local found = redis.call('SCAN', cursor, 'MATCH', 'maas:manifest:*', 'COUNT', 20)
    for _, manifest in ipairs(found[2]) do
        adopt(manifest)
    end
    redis.call('SET', 'maas:counting', found[1])
    if found[1] == '0' then
        redis.call('SET', 'maas:counted', '1')
        redis.call('DEL', 'maas:counting')
    end
    return found[1] ~= '0'
end

-- true: there was something.
local function leave_slice(ttl_ms)
    local digests = redis.call('LPOP', 'maas:released')
    if not digests then
        return false
    end
    for at = 1, #digests, 32 do
        leave_chunk(digests:sub(at, at + 31), ttl_ms)
    end
    return true
end

-- The pieces of an upload that is over, some at a time; then what is known of it.
local function end_upload(id, ttl_ms)
    local key = upload_key(id)
    local slots = key .. ':slots'
    if redis.call('HEXISTS', key, 'place') == 0 then
        redis.call('DEL', key)  -- nothing can be added to what is half gone
    end
    for _, slot in ipairs(redis.call('HRANDFIELD', slots, COLLECT_SLOTS)) do
        local pieces, digests = redis.call('HGET', slots, slot), {}
        for at = 9, #pieces, PIECE do
            digests[#digests + 1] = pieces:sub(at, at + 31)
        end
        leave_later(table.concat(digests))
        redis.call('HDEL', slots, slot)
    end
    if redis.call('EXISTS', slots) == 1 then
        return
    end
    redis.call('ZREM', 'maas:uploads', id)
    redis.call('PEXPIRE', key, ttl_ms)  -- who asks again is told what became of it
end

-- ttl_ms -> how many steps wait still, as far as is known: 0 or 1
redis.register_function(when_full('maas_collect', function(_, a)
    if artifacts.count_old() then
        return 1
    end
    if artifacts.forget_copies() then
        return 1
    end
    if redis.call('EXISTS', 'maas:backup') == 1 then
        return 0    -- it reads what was there when it began
    end
    if leave_slice(tonumber(a[1])) then
        return 1
    end
    local over = redis.call('ZRANGEBYSCORE', 'maas:uploads', '-inf', now_ms(), 'LIMIT', 0, 1)
    if #over == 0 then
        return 0
    end
    end_upload(over[1], a[1])
    return 1
end))
