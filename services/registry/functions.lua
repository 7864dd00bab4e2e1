-- functions.lua - every change of the registry as one atomic step inside Redis.
--
-- Keys (all of them; digests are raw bytes).  Those of one model have its name as hash tag, so that
-- they are in one slot:
--   maas:{NAME}:model          hash next (last number given), aliases_revision, and the deployment:
--                              see DEPLOYMENT in deployments.lua; before: the one before it, as JSON
--   maas:{NAME}:versions       zset of the numbers of its versions
--   maas:{NAME}:version:N      hash record (packed struct version), check, checked (packed),
--                              reason, tags, description, revision, bytes (that it takes of the
--                              catalog), digests (of its files, to be released with it)
--   maas:{NAME}:aliases        hash alias -> number
--   maas:{NAME}:history        stream, append-only: who, what, from, to (JSON); its ids say when
--   maas:models                zset of model names, all with score 0: in the order of their names
--   maas:pending               zset of "NAME:N" to be checked; score: free to claim from then on
--   maas:claim:WORKER:NUMBER   "NAME:N" that this claim has got; expires with it
--   maas:catalog               hash versions, bytes: how much all snapshots hold
--   maas:chunk:DIGEST          a chunk's bytes; expires unless a manifest keeps it
--   maas:manifest:DIGEST       hash size, chunks (32 bytes each, in order), which never change;
--                              refs: how many versions and files hold it
--   maas:key:version:KEY       "NAME:N:DIGEST" that a keyed commit has made, for a day
--   maas:key:rollback:KEY      {name, value ...} of the deployment, as JSON, that a keyed rollback has
--                              made, for a day
--   maas:key:training:KEY      job id that a keyed submit has made, for a day
--   maas:datasets              set of dataset names
--   maas:dataset:NAME          hash file name -> packed struct file
--   maas:dataset:NAME:digests  hash file name -> its digest
--   maas:dataset:NAME:profile  hash, see datasets.lua
--   maas:profiles:queue        zset of datasets whose profile is to be made, by when it was asked for
--   maas:profiles:running      zset of those that are being made, by end of lease
--   maas:training:ID           hash, see maas_training_submit
--                              checkpoint (digest of a held artifact), checkpoint_update and
--                              checkpoint_history: while the job has not ended, see
--                              maas_training_checkpoint
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
-- One library in several files, one behind the other (functions.c): this one has what all share,
-- then come artifacts.lua (with the list of its keys), backup.lua, deployments.lua, rollouts.lua
-- (the same), versions.lua, layout.lua, datasets.lua and jobs.lua.

local DAY_MS = 24 * 3600 * 1000
local EVENTS_KEPT = 1000             -- who lags further behind takes a snapshot
local CATALOG_VERSIONS_MAX = 262144  -- MAX_VERSIONS (limits.h)
local CATALOG_BYTES_MAX = 256 * 1024 * 1024   -- each gateway and worker has it in memory
local DELETED_MAX = 10000            -- versions that go with their model: half a second
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

-- What artifacts.lua offers: check, hold, release ...
local artifacts = {}

-- A function that makes room, or that the suite cannot live without: it runs in a full Redis too.
local function when_full(name, callback)
    return { function_name = name, flags = { 'allow-oom' }, callback = callback }
end

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

-- The number of the last one: who has it knows of everything that is told together with it.
local function catalog_seq()
    return redis.call('GET', 'maas:seq') or '0'
end

-- from and to: JSON, or empty.  Played in order, they lead to the state that there is.
local function history(model, who, what, from, to)
    redis.call('XADD', key_of(model, 'history'), '*', 'who', who, 'what', what, 'from', from, 'to',
        to)
end

