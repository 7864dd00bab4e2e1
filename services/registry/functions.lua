#!lua name=maas
-- functions.lua - every change of the registry as one atomic step inside Redis.
--
-- Keys (all of them; binary digests are raw bytes):
--   maas:chunk:DIGEST          a chunk's bytes; expires unless a manifest keeps it
--   maas:manifest:DIGEST       hash size, chunks (32 bytes each, in order)
--   maas:models                set of model names
--   maas:model:NAME            hash next (last number given), version, previous, revision,
--                              changed_ms, max_batch (the deployment)
--   maas:version:NAME:N        hash record (packed struct version), check, checked (packed)
--   maas:pending               zset of "NAME:N" to be checked; score: free to claim from then on
--   maas:history:NAME          stream, append-only: what, from, to
--   maas:key:KEY               answer of a keyed request, for a day
--   maas:datasets              set of dataset names
--   maas:dataset:NAME          hash file name -> packed struct file
--   maas:trainings             zset of job ids by number; maas:training:count
--   maas:training:ID           hash, see maas_training_submit
--   maas:training:queue        zset of waiting ids; maas:training:running by end of lease
--   maas:process:ID            packed struct process, expires; maas:processes zset by expiry
--   maas:seq, maas:events      number of the last catalog change; stream with that id
--
-- An error reply begins with the name of a status (status.h).

local DAY_MS = 24 * 3600 * 1000
local EVENTS_KEPT = 10000
local HISTORY_KEPT = 100000
local CHECK_LEASE_MS = 60 * 1000
local TRAINING_LEASE_MS = 15 * 1000
local TRAINING_ATTEMPTS = 3
local TRAININGS_LISTED = 200
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

local function history(model, what, from, to)
    redis.call('XADD', 'maas:history:' .. model, 'MAXLEN', '~', HISTORY_KEPT, '*', 'what', what,
        'from', from, 'to', to)
end

local function version_event(model, n)
    local v = redis.call('HMGET', version_key(model, n), 'record', 'check', 'checked')
    event('version', model, 'number', n, 'record', v[1], 'check', v[2], 'checked', v[3] or '')
end

local function deployment(model)
    local d = redis.call('HMGET', model_key(model), 'version', 'previous', 'revision', 'changed_ms',
        'max_batch')
    for i = 1, 5 do d[i] = d[i] or '0' end
    return d
end

local function deployment_event(model)
    local d = deployment(model)
    event('deployment', model, 'version', d[1], 'previous', d[2], 'revision', d[3], 'changed_ms',
        d[4], 'max_batch', d[5])
    return d
end

local function deploy(model, n)
    local key = model_key(model)
    local old = redis.call('HMGET', key, 'version', 'previous')
    local from = old[1] or '0'
    if from == n then
        return deployment(model)
    end
    redis.call('HSET', key, 'version', n, 'previous', from, 'changed_ms', text(now_ms()))
    redis.call('HINCRBY', key, 'revision', 1)
    history(model, 'deploy', from, n)
    return deployment_event(model)
end

-- ---- artifacts

redis.register_function('maas_chunk_put', function(_, args)
    local key = 'maas:chunk:' .. args[1]
    if redis.call('EXISTS', key) == 0 then
        redis.call('SET', key, args[2], 'PX', DAY_MS)
    elseif redis.call('PTTL', key) > 0 then
        redis.call('PEXPIRE', key, DAY_MS)
    end
    return 'OK'
end)

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
    if redis.call('HGET', manifest, 'chunks') == chunks then
        return nil
    end
    for i = 1, count do
        redis.call('PERSIST', 'maas:chunk:' .. chunks:sub(32 * i - 31, 32 * i))
    end
    redis.call('HSET', manifest, 'size', text(size), 'chunks', chunks)
    return nil
end

-- ---- versions

local function finish_training(id, lease, model, n, metrics)
    local key = 'maas:training:' .. id
    local job = redis.call('HMGET', key, 'state', 'lease')
    if job[1] ~= RUNNING or job[2] ~= lease then
        return fail('CONFLICT', 'the training job ' .. id .. ' is not yours any more')
    end
    redis.call('HSET', key, 'state', DONE, 'version', n, 'metrics', metrics, 'finished_ms',
        text(now_ms()))
    redis.call('ZREM', 'maas:training:running', id)
    return nil
end

-- key model digest size chunks record deploy training lease metrics -> number
redis.register_function('maas_version_commit', function(_, a)
    local key, model, digest, size, chunks, record = a[1], a[2], a[3], a[4], a[5], a[6]
    local again = key ~= '' and redis.call('GET', 'maas:key:' .. key)
    if again then
        return again
    end
    if a[8] ~= '' then
        local job = redis.call('HMGET', 'maas:training:' .. a[8], 'state', 'lease')
        if job[1] ~= RUNNING or job[2] ~= a[9] then
            return fail('CONFLICT', 'the training job ' .. a[8] .. ' is not yours any more')
        end
    end
    local err = keep_artifact(digest, size, chunks)
    if err then
        return err
    end
    local n = text(redis.call('HINCRBY', model_key(model), 'next', 1))
    redis.call('SADD', 'maas:models', model)
    redis.call('HSET', version_key(model, n), 'record', record, 'check', PENDING)
    redis.call('ZADD', 'maas:pending', 0, model .. ':' .. n)
    history(model, 'register', '', n)
    version_event(model, n)
    if a[8] ~= '' then
        finish_training(a[8], a[9], model, n, a[10])
    end
    if a[7] == '1' then
        deploy(model, n)
    end
    if key ~= '' then
        redis.call('SET', 'maas:key:' .. key, n, 'PX', DAY_MS)
    end
    return n
end)

-- -> {"NAME", "N", record} or nothing
redis.register_function('maas_check_claim', function(_, _)
    local now = now_ms()
    local due = redis.call('ZRANGEBYSCORE', 'maas:pending', '-inf', now, 'LIMIT', 0, 1)
    if #due == 0 then
        return fail('NOT_FOUND', 'no version waits for a check')
    end
    redis.call('ZADD', 'maas:pending', now + CHECK_LEASE_MS, due[1])
    local model, n = due[1]:match('^(.*):(%d+)$')
    return { model, n, redis.call('HGET', version_key(model, n), 'record') }
end)

-- model number check checked
redis.register_function('maas_version_checked', function(_, a)
    local key = version_key(a[1], a[2])
    local old = redis.call('HGET', key, 'check')
    if not old then
        return fail('NOT_FOUND', "model '" .. a[1] .. "' has no version " .. a[2])
    end
    redis.call('ZREM', 'maas:pending', a[1] .. ':' .. a[2])
    if old == PENDING then
        redis.call('HSET', key, 'check', a[3], 'checked', a[4])
        version_event(a[1], a[2])
    end
    return 'OK'
end)

-- model number -> deployment
redis.register_function('maas_deploy', function(_, a)
    local model, n = a[1], a[2]
    if redis.call('SISMEMBER', 'maas:models', model) == 0 then
        return fail('NOT_FOUND', "there is no model '" .. model .. "'")
    end
    local check = redis.call('HGET', version_key(model, n), 'check')
    if not check then
        return fail('NOT_FOUND', "model '" .. model .. "' has no version " .. n)
    end
    if check == FAILED then
        return fail('CONFLICT', "version " .. n .. " of model '" .. model ..
            "' cannot be loaded and is not deployed; its reason is shown with the version")
    end
    return deploy(model, n)
end)

-- -> {seq, {model, deployment, {number, record, check, checked}...}...}
redis.register_function{
    function_name = 'maas_snapshot',
    flags = { 'no-writes' },
    callback = function(_, _)
        local out = { redis.call('GET', 'maas:seq') or '0' }
        for _, model in ipairs(redis.call('SMEMBERS', 'maas:models')) do
            local entry = { model, deployment(model) }
            local last = tonumber(redis.call('HGET', model_key(model), 'next') or '0')
            for n = 1, last do
                local v = redis.call('HMGET', version_key(model, n), 'record', 'check', 'checked')
                if v[1] then
                    entry[#entry + 1] = { text(n), v[1], v[2], v[3] or '' }
                end
            end
            out[#out + 1] = entry
        end
        return out
    end,
}

-- ---- datasets

-- dataset file digest size chunks packed max_files
redis.register_function('maas_file_commit', function(_, a)
    local key = 'maas:dataset:' .. a[1]
    if redis.call('HEXISTS', key, a[2]) == 0 and redis.call('HLEN', key) >= tonumber(a[7]) then
        return fail('INVALID', "dataset '" .. a[1] .. "' has " .. a[7] .. ' files already')
    end
    local err = keep_artifact(a[3], a[4], a[5])
    if err then
        return err
    end
    redis.call('HSET', key, a[2], a[6])
    redis.call('SADD', 'maas:datasets', a[1])
    return 'OK'
end)

local function dataset(name)
    return { name, redis.call('HGETALL', 'maas:dataset:' .. name) }
end

-- name or '' for all -> {{name, {file, packed ...}}...}
redis.register_function{
    function_name = 'maas_datasets',
    flags = { 'no-writes' },
    callback = function(_, a)
        if a[1] ~= '' then
            if redis.call('SISMEMBER', 'maas:datasets', a[1]) == 0 then
                return fail('NOT_FOUND', "there is no dataset '" .. a[1] .. "'")
            end
            return { dataset(a[1]) }
        end
        local out = {}
        local names = redis.call('SMEMBERS', 'maas:datasets')
        table.sort(names)
        for i = 1, math.min(#names, 1000) do
            out[i] = dataset(names[i])
        end
        return out
    end,
}

-- ---- training

local function training(id)
    local h = redis.call('HGETALL', 'maas:training:' .. id)
    if #h == 0 then
        return nil
    end
    h[#h + 1] = 'id'
    h[#h + 1] = id
    return h
end

local function end_training(id, state, message)
    redis.call('HSET', 'maas:training:' .. id, 'state', state, 'error', message, 'finished_ms',
        text(now_ms()))
    redis.call('ZREM', 'maas:training:queue', id)
    redis.call('ZREM', 'maas:training:running', id)
end

-- key dataset packed -> hash
redis.register_function('maas_training_submit', function(_, a)
    local again = a[1] ~= '' and redis.call('GET', 'maas:key:' .. a[1])
    if again then
        return training(again)
    end
    if redis.call('SISMEMBER', 'maas:datasets', a[2]) == 0 then
        return fail('NOT_FOUND', "there is no dataset '" .. a[2] .. "'")
    end
    local n = redis.call('INCR', 'maas:training:count')
    local id = 't' .. text(n)
    redis.call('HSET', 'maas:training:' .. id, 'submit', a[3], 'state', QUEUED, 'created_ms',
        text(now_ms()))
    redis.call('ZADD', 'maas:trainings', n, id)
    redis.call('ZADD', 'maas:training:queue', n, id)
    if a[1] ~= '' then
        redis.call('SET', 'maas:key:' .. a[1], id, 'PX', DAY_MS)
    end
    return training(id)
end)

redis.register_function{
    function_name = 'maas_training_get',
    flags = { 'no-writes' },
    callback = function(_, a)
        return training(a[1]) or fail('NOT_FOUND', "there is no training job '" .. a[1] .. "'")
    end,
}

redis.register_function{
    function_name = 'maas_training_list',
    flags = { 'no-writes' },
    callback = function(_, _)
        local out = {}
        local ids = redis.call('ZREVRANGE', 'maas:trainings', 0, TRAININGS_LISTED - 1)
        for i, id in ipairs(ids) do
            out[i] = training(id)
        end
        return out
    end,
}

-- A job whose trainer has been silent goes back to the queue, or fails for good.
local function expire_leases()
    local late = redis.call('ZRANGEBYSCORE', 'maas:training:running', '-inf', now_ms())
    for _, id in ipairs(late) do
        local key = 'maas:training:' .. id
        local job = redis.call('HMGET', key, 'attempts', 'cancel')
        if job[2] == '1' then
            end_training(id, CANCELLED, '')
        elseif tonumber(job[1]) >= TRAINING_ATTEMPTS then
            end_training(id, BROKEN, 'its trainer ended ' .. job[1] .. ' times without a word')
        else
            redis.call('ZREM', 'maas:training:running', id)
            redis.call('ZADD', 'maas:training:queue', tonumber(id:sub(2)), id)
            redis.call('HSET', key, 'state', QUEUED)
        end
    end
end

-- trainer -> hash
redis.register_function('maas_training_claim', function(_, a)
    expire_leases()
    local first = redis.call('ZPOPMIN', 'maas:training:queue')
    if #first == 0 then
        return fail('NOT_FOUND', 'no training job waits')
    end
    local id = first[1]
    local key = 'maas:training:' .. id
    local lease = redis.call('INCR', 'maas:lease')
    redis.call('HINCRBY', key, 'attempts', 1)
    redis.call('HSET', key, 'state', RUNNING, 'trainer', a[1], 'lease', text(lease), 'started_ms',
        text(now_ms()))
    redis.call('ZADD', 'maas:training:running', now_ms() + TRAINING_LEASE_MS, id)
    return training(id)
end)

-- id lease state packed error -> hash
redis.register_function('maas_training_update', function(_, a)
    local id, key = a[1], 'maas:training:' .. a[1]
    local job = redis.call('HMGET', key, 'state', 'lease')
    if job[1] ~= RUNNING or job[2] ~= a[2] then
        return fail('CONFLICT', 'the training job ' .. id .. ' is not yours any more')
    end
    if a[3] == RUNNING then
        redis.call('ZADD', 'maas:training:running', now_ms() + TRAINING_LEASE_MS, id)
        redis.call('HSET', key, 'update', a[4])
    elseif a[3] == QUEUED then
        redis.call('ZREM', 'maas:training:running', id)
        redis.call('ZADD', 'maas:training:queue', tonumber(id:sub(2)), id)
        redis.call('HSET', key, 'state', QUEUED)
        redis.call('HINCRBY', key, 'attempts', -1)
    elseif a[3] == BROKEN or a[3] == CANCELLED then
        redis.call('HSET', key, 'update', a[4])
        end_training(id, a[3], a[5])
    else
        return fail('INVALID', 'a trainer cannot say state ' .. a[3])
    end
    return training(id)
end)

redis.register_function('maas_training_cancel', function(_, a)
    local id, key = a[1], 'maas:training:' .. a[1]
    local state = redis.call('HGET', key, 'state')
    if not state then
        return fail('NOT_FOUND', "there is no training job '" .. id .. "'")
    end
    if state == QUEUED then
        end_training(id, CANCELLED, '')
    elseif state == RUNNING then
        redis.call('HSET', key, 'cancel', '1')
    else
        return fail('CONFLICT', 'the training job ' .. id .. ' has ended already')
    end
    return training(id)
end)

-- ---- presence

-- id packed ttl_ms leaving -> {packed...}
redis.register_function('maas_report', function(_, a)
    local now = now_ms()
    if a[4] == '1' then
        redis.call('DEL', 'maas:process:' .. a[1])
        redis.call('ZREM', 'maas:processes', a[1])
    else
        redis.call('SET', 'maas:process:' .. a[1], a[2], 'PX', a[3])
        redis.call('ZADD', 'maas:processes', now + tonumber(a[3]), a[1])
    end
    redis.call('ZREMRANGEBYSCORE', 'maas:processes', '-inf', now)
    local ids = redis.call('ZRANGE', 'maas:processes', 0, 1023)
    local out = {}
    for _, id in ipairs(ids) do
        local packed = redis.call('GET', 'maas:process:' .. id)
        if packed then
            out[#out + 1] = packed
        end
    end
    return out
end)
