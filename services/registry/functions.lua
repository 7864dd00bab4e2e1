-- functions.lua - every change of the registry as one atomic step inside Redis.
--
-- Keys (all of them; digests are raw bytes).  Those of one model have its name as hash tag, so that
-- they are in one slot:
--   maas:{NAME}:model          hash next (last number given), aliases_revision, and the deployment:
--                              see DEPLOYMENT in deployments.lua; before: the one before it, as JSON
--   maas:{NAME}:versions       zset of the numbers of its versions
--   maas:{NAME}:version:N      hash record (packed struct version), digest, check, checked (packed),
--                              reason, tags, description, revision, bytes (that it takes of the
--                              catalog)
--   maas:{NAME}:aliases        hash alias -> number
--   maas:{NAME}:history        stream, append-only: who, what, from, to (JSON); its ids say when
--   maas:models                zset of model names, all with score 0: in the order of their names
--   maas:pending               zset of "NAME:N" to be checked; score: free to claim from then on
--   maas:catalog               hash versions, bytes: how much all snapshots hold
--   maas:chunk:DIGEST          a chunk's bytes; expires unless a manifest keeps it
--   maas:manifest:DIGEST       hash size, chunks (32 bytes each, in order), which never change;
--                              refs: how many versions and files hold it
--   maas:key:version:KEY       "NAME:N:DIGEST" that a keyed commit has made, for a day
--   maas:key:training:KEY      job id that a keyed submit has made, for a day
--   maas:datasets              set of dataset names
--   maas:dataset:NAME          hash file name -> packed struct file
--   maas:training:ID           hash, see maas_training_submit
--   maas:trainings             zset of job ids by number
--   maas:trainings:count       last number; maas:trainings:lease: last lease token
--   maas:trainings:queue       zset of waiting ids by number
--   maas:trainings:running     zset of ids by end of lease
--   maas:trainer:PROCESS       id of the job that this trainer runs; goes with its lease
--   maas:process:ID            packed struct process, expires
--   maas:processes:ROLE        zset of process ids by expiry
--   maas:library               "VERSION DIGEST" of the functions in Redis (greeting.c)
--   maas:seq, maas:events      number of the last catalog change; stream with that id
--   maas:layout                LAYOUT: which form of these keys this Redis has (layout.lua)
--
-- Names never hold a colon, a comma or a brace (name_check), so no key can be taken for another.
-- An error reply begins with the name of a status (status.h).
--
-- One library in several files, one behind the other (functions.c): this one has what all share and
-- the artifacts, then come deployments.lua, versions.lua, layout.lua and jobs.lua.

local DAY_MS = 24 * 3600 * 1000
local EVENTS_KEPT = 1000             -- who lags further behind takes a snapshot
local CATALOG_VERSIONS_MAX = 262144  -- MAX_VERSIONS (limits.h)
local CATALOG_BYTES_MAX = 256 * 1024 * 1024   -- each gateway and worker has it in memory
local ALIASES_MAX = 64               -- MAX_ALIASES (limits.h)
local HISTORY_PAGE_BYTES = 512 * 1024
local DATASETS_MAX = 1000            -- MAX_LIST (limits.h)
local CHECK_LEASE_MS = 60 * 1000
local TRAINING_LEASE_MS = 15 * 1000
local TRAINING_ATTEMPTS = 3
local TRAININGS_LISTED = 200
local TRAININGS_KEPT = 1000          -- older ones that have ended are forgotten
local TRAININGS_WAITING_MAX = 500
local CHUNK_BYTES = 1024 * 1024
local PENDING, PASSED, FAILED = '0', '1', '2'
local QUEUED, RUNNING, DONE, BROKEN, CANCELLED = '0', '1', '2', '3', '4'

local function fail(code, text)
    return redis.error_reply(code .. ' ' .. text)
end

local function now_ms()
    local t = redis.call('TIME')
    return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function text(n)
    return string.format('%.0f', n)
end

local function key_of(model, what)
    return 'maas:{' .. model .. '}:' .. what
end

local function model_key(model)
    return key_of(model, 'model')
end

local function version_key(model, n)
    return key_of(model, 'version:' .. n)
end

local function model_known(model)
    return redis.call('ZSCORE', 'maas:models', model)
end

local function no_model(model)
    return fail('NOT_FOUND', "there is no model '" .. model .. "'")
end

-- Catalog changes are numbered without gaps; the stream's ids are the numbers.
local function event(what, model, ...)
    local seq = redis.call('INCR', 'maas:seq')
    redis.call('XADD', 'maas:events', 'MAXLEN', '~', EVENTS_KEPT, text(seq) .. '-0', 'what', what,
        'model', model, ...)
end

-- from and to: JSON, or empty.  Played in order, they lead to the state that there is.
local function history(model, who, what, from, to)
    redis.call('XADD', key_of(model, 'history'), '*', 'who', who, 'what', what, 'from', from, 'to',
        to)
end

-- ---- artifacts

-- digest data -> OK, or REPAIRED when other bytes were kept under this digest
redis.register_function('maas_chunk_put', function(_, args)
    local key = 'maas:chunk:' .. args[1]
    local old = redis.call('GET', key)
    if not old then
        redis.call('SET', key, args[2], 'PX', DAY_MS)
    elseif old ~= args[2] then
        redis.call('SET', key, args[2], 'KEEPTTL')
        return 'REPAIRED'
    elseif redis.call('PTTL', key) > 0 then
        redis.call('PEXPIRE', key, DAY_MS)
    end
    return 'OK'
end)

-- A version or a file holds an artifact, or does so no more.
local function hold_artifact(digest)
    redis.call('HINCRBY', 'maas:manifest:' .. digest, 'refs', 1)
end

local function release_artifact(digest)
    redis.call('HINCRBY', 'maas:manifest:' .. digest, 'refs', -1)
end

-- The digest with this tag in a packed struct of schema.h: a bin of 32 bytes.  What is before it are
-- names and numbers.
local function packed_digest(packed, tag)
    local _, at = packed:find(string.char(tag, 0xc4, 32), 1, true)
    return packed:sub(at + 1, at + 32)
end

-- Keeps the chunks of a manifest and writes it.  nil, or an error reply; nothing is changed then.
local function keep_artifact(digest, size, chunks)
    local count = math.floor(#chunks / 32)
    size = tonumber(size)
    if #chunks % 32 ~= 0 or count ~= math.ceil(size / CHUNK_BYTES) then
        return fail('INVALID', 'the number of chunks does not fit the size')
    end
    for i = 1, count do
        local key = 'maas:chunk:' .. chunks:sub(32 * i - 31, 32 * i)
        local expected = math.min(CHUNK_BYTES, size - (i - 1) * CHUNK_BYTES)
        if redis.call('STRLEN', key) ~= expected then
            return fail('CONFLICT', 'chunk ' .. (i - 1) .. ' of the artifact is not there; upload it again')
        end
    end
    local manifest = 'maas:manifest:' .. digest
    local kept = redis.call('HGET', manifest, 'chunks')
    if kept and kept ~= chunks then
        return fail('CONFLICT', 'an artifact with this digest is there already, in other chunks')
    end
    if kept then
        return nil
    end
    for i = 1, count do
        redis.call('PERSIST', 'maas:chunk:' .. chunks:sub(32 * i - 31, 32 * i))
    end
    redis.call('HSET', manifest, 'size', text(size), 'chunks', chunks)
    return nil
end

