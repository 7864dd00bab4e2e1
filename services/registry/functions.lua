-- functions.lua - every change of the registry as one atomic step inside Redis.
--
-- Keys (all of them; digests are raw bytes):
--   maas:models                set of model names
--   maas:model:NAME            hash next (last number given), version, previous, revision,
--                              changed_ms, max_batch, instances, max_batch_delay_ms
--                              (the deployment)
--   maas:version:NAME:N        hash record (packed struct version), check, checked (packed), digests
--                              (of its files, to be released with it)
--   maas:pending               zset of "NAME:N" to be checked; score: free to claim from then on
--   maas:catalog               hash versions, bytes: how much a snapshot holds
--   maas:history:NAME          stream, append-only: who, what, from, to; its ids say when
--   maas:key:version:KEY       "NAME:N:DIGEST" that a keyed commit has made, for a day
--   maas:key:training:KEY      job id that a keyed submit has made, for a day
--   maas:datasets              set of dataset names
--   maas:dataset:NAME          hash file name -> packed struct file
--   maas:dataset:NAME:digests  hash file name -> its digest
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
--
-- Names never hold a colon (name_check), so no key can be taken for another.
-- An error reply begins with the name of a status (status.h).
--
-- This file has the versions.  Appended to it when Redis gets the library: artifacts.lua (chunks,
-- manifests, uploads, with the list of their keys), backup.lua, jobs.lua (datasets, training jobs,
-- presence).

local DAY_MS = 24 * 3600 * 1000
local EVENTS_KEPT = 1000             -- who lags further behind takes a snapshot
local CATALOG_VERSIONS_MAX = 65536   -- MAX_VERSIONS (limits.h)
local CATALOG_BYTES_MAX = 48 * 1024 * 1024    -- below MAX_ENVELOPE: a snapshot is one message
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

local function model_key(model)
    return 'maas:model:' .. model
end

local function version_key(model, n)
    return 'maas:version:' .. model .. ':' .. n
end

-- Catalog changes are numbered without gaps; the stream's ids are the numbers.
local function event(what, model, ...)
    local seq = redis.call('INCR', 'maas:seq')
    redis.call('XADD', 'maas:events', 'MAXLEN', '~', EVENTS_KEPT, text(seq) .. '-0', 'what', what,
        'model', model, ...)
end

local function history(model, who, what, from, to)
    redis.call('XADD', 'maas:history:' .. model, '*', 'who', who, 'what', what, 'from', from, 'to',
        to)
end

-- {model, number, record, check, checked}, or nil
local function version(model, n)
    local v = redis.call('HMGET', version_key(model, n), 'record', 'check', 'checked')
    if not v[1] then
        return nil
    end
    return { model, n, v[1], v[2], v[3] or '' }
end

local function version_event(model, n)
    local v = version(model, n)
    event('version', model, 'number', n, 'record', v[3], 'check', v[4], 'checked', v[5])
end

-- {version, previous, revision, changed_ms, max_batch, model, instances, max_batch_delay_ms}
local function deployment(model)
    local d = redis.call('HMGET', model_key(model), 'version', 'previous', 'revision', 'changed_ms',
        'max_batch', 'instances', 'max_batch_delay_ms')
    for i = 1, 7 do d[i] = d[i] or '0' end
    return { d[1], d[2], d[3], d[4], d[5], model, d[6], d[7] }
end

local function deployment_event(model)
    local d = deployment(model)
    event('deployment', model, 'version', d[1], 'previous', d[2], 'revision', d[3], 'changed_ms',
        d[4], 'max_batch', d[5], 'instances', d[7], 'max_batch_delay_ms', d[8])
    return d
end

-- Where the settings of a deployment are in what deployment() returns.
local SETTINGS = { instances = 7, max_batch = 5, max_batch_delay_ms = 8 }

-- Writes those that are given (name -> text) and differ.  true: there were some.
local function set_deployment(model, d, settings, who)
    local changed = false
    for name, value in pairs(settings) do
        local old = d[SETTINGS[name]]
        if value ~= '' and value ~= old then
            redis.call('HSET', model_key(model), name, value)
            history(model, who, 'set ' .. name, old, value)
            changed = true
        end
    end
    return changed
end

-- Makes n the deployed version.  previous is what serves until it is warm.  A version that no
-- engine has loaded yet serves nothing, so the one before it stays.  0: nothing is served any more.
local function change_version(model, d, n, who)
    local from, previous = d[1], d[2]
    if from ~= '0' and redis.call('HGET', version_key(model, from), 'check') == PASSED then
        previous = from
    end
    if previous == n or n == '0' then
        previous = '0'
    end
    redis.call('HSET', model_key(model), 'version', n, 'previous', previous)
    history(model, who, 'deploy', from, n)
end

-- What is so already is no change: no revision, no history, no event.
local function deploy(model, n, who, settings)
    local key = model_key(model)
    local d = deployment(model)
    local changed = set_deployment(model, d, settings, who)
    if d[1] ~= n then
        change_version(model, d, n, who)
    elseif not changed then
        return d
    end
    redis.call('HSET', key, 'changed_ms', text(now_ms()))
    redis.call('HINCRBY', key, 'revision', 1)
    return deployment_event(model)
end

-- ---- versions

local function not_yours(id, lease)
    local job = redis.call('HMGET', 'maas:training:' .. id, 'state', 'lease')
    if job[1] ~= RUNNING or job[2] ~= lease then
        return fail('CONFLICT', 'the training job ' .. id .. ' is not yours any more')
    end
    return nil
end

-- The job is nobody's any more.
local function leave_trainer(id)
    local holder = 'maas:trainer:' .. (redis.call('HGET', 'maas:training:' .. id, 'trainer') or '')
    if redis.call('GET', holder) == id then
        redis.call('DEL', holder)
    end
    redis.call('ZREM', 'maas:trainings:running', id)
end

local function finish_training(id, n, metrics)
    redis.call('HSET', 'maas:training:' .. id, 'state', DONE, 'version', n, 'metrics', metrics,
        'finished_ms', text(now_ms()))
    leave_trainer(id)
end

-- nil, or an error reply: the catalog takes no version of so many bytes more.
local function catalog_full(bytes)
    local c = redis.call('HMGET', 'maas:catalog', 'versions', 'bytes')
    if tonumber(c[1] or 0) + 1 > CATALOG_VERSIONS_MAX then
        return fail('FULL', 'there are ' .. CATALOG_VERSIONS_MAX .. ' versions, which is the limit')
    end
    if tonumber(c[2] or 0) + bytes > CATALOG_BYTES_MAX then
        return fail('FULL', 'the records of all versions take ' .. c[2] .. ' bytes; ' ..
            CATALOG_BYTES_MAX .. ' is the limit')
    end
    return nil
end

local function grow_catalog(versions, bytes)
    redis.call('HINCRBY', 'maas:catalog', 'versions', versions)
    redis.call('HINCRBY', 'maas:catalog', 'bytes', bytes)
end

local function version_of_key(key, model, digest)
    local place = key ~= '' and redis.call('GET', 'maas:key:version:' .. key)
    if not place then
        return nil
    end
    local of, n, was = place:match('^([^:]*):(%d+):?(.*)$')
    if of ~= model then
        return fail('CONFLICT', "this key belongs to a version of model '" .. of .. "'")
    end
    if was ~= '' and was ~= digest then
        return fail('CONFLICT', 'this key belongs to version ' .. n .. ', which has other contents')
    end
    return version(of, n)
end

-- key model digest size chunks record deploy training lease metrics who parts uploads -> version
redis.register_function('maas_version_commit', function(_, a)
    local key, model, digest, size, chunks, record = a[1], a[2], a[3], a[4], a[5], a[6]
    local job, who = a[8], a[11]
    local again = version_of_key(key, model, digest)
    if again then
        return again
    end
    local err = job ~= '' and not_yours(job, a[9]) or nil
    local bytes = #record + 2 * #model + 64
    err = err or catalog_full(bytes)
    err = err or artifacts.uploads_open(a[13])
    err = err or artifacts.check(digest, size, chunks)
    err = err or artifacts.check_parts(a[12])
    if err then
        return err
    end
    local digests = artifacts.hold_all(digest, size, chunks, a[12])
    grow_catalog(1, bytes)
    local n = text(redis.call('HINCRBY', model_key(model), 'next', 1))
    redis.call('SADD', 'maas:models', model)
    redis.call('HSET', version_key(model, n), 'record', record, 'check', PENDING,
        'digests', digests)
    redis.call('ZADD', 'maas:pending', 0, model .. ':' .. n)
    history(model, who, 'register', '', n)
    version_event(model, n)
    artifacts.uploads_done(a[13], model .. ':' .. n)
    if job ~= '' then
        finish_training(job, n, a[10])
    end
    if a[7] == '1' then
        deploy(model, n, who, {})
    end
    if key ~= '' then
        redis.call('SET', 'maas:key:version:' .. key, model .. ':' .. n .. ':' .. digest, 'PX',
            DAY_MS)
    end
    return version(model, n)
end)

-- -> version
redis.register_function('maas_check_claim', function(_, _)
    local now = now_ms()
    local due = redis.call('ZRANGEBYSCORE', 'maas:pending', '-inf', now, 'LIMIT', 0, 1)
    if #due == 0 then
        return fail('NOT_FOUND', 'no version waits for a check')
    end
    redis.call('ZADD', 'maas:pending', now + CHECK_LEASE_MS, due[1])
    local model, n = due[1]:match('^(.*):(%d+)$')
    return version(model, n)
end)

-- model number check checked -> version; 0: it was decided before
redis.register_function('maas_version_checked', function(_, a)
    local key = version_key(a[1], a[2])
    local old = redis.call('HGET', key, 'check')
    if not old then
        return fail('NOT_FOUND', "model '" .. a[1] .. "' has no version " .. a[2])
    end
    redis.call('ZREM', 'maas:pending', a[1] .. ':' .. a[2])
    if old ~= PENDING then
        return 0
    end
    grow_catalog(0, #a[4])
    redis.call('HSET', key, 'check', a[3], 'checked', a[4])
    history(a[1], '', a[3] == PASSED and 'check passed' or 'check failed', '', a[2])
    version_event(a[1], a[2])
    return version(a[1], a[2])
end)

-- model number who instances max_batch max_batch_delay_ms -> deployment.
-- Settings that are empty stay as they are.
redis.register_function('maas_deploy', function(_, a)
    local model, n = a[1], a[2]
    if redis.call('SISMEMBER', 'maas:models', model) == 0 then
        return fail('NOT_FOUND', "there is no model '" .. model .. "'")
    end
    local check = redis.call('HGET', version_key(model, n), 'check')
    if not check and n ~= '0' then
        return fail('NOT_FOUND', "model '" .. model .. "' has no version " .. n)
    end
    if check == FAILED then
        return version(model, n)    -- the caller says why: the reason is inside
    end
    local settings = { instances = a[4], max_batch = a[5], max_batch_delay_ms = a[6] }
    return deploy(model, n, a[3], settings)
end)

-- -> {seq, {deployment, version...} for each model}
redis.register_function{
    function_name = 'maas_snapshot',
    flags = { 'no-writes' },
    callback = function(_, _)
        local out = { redis.call('GET', 'maas:seq') or '0' }
        for _, model in ipairs(redis.call('SMEMBERS', 'maas:models')) do
            local entry = { deployment(model) }
            local last = tonumber(redis.call('HGET', model_key(model), 'next') or '0')
            for n = 1, last do
                entry[#entry + 1] = version(model, text(n))
            end
            out[#out + 1] = entry
        end
        return out
    end,
}
