-- datasets.lua - named sets of files, and what is in them.

-- ---- datasets

local function dataset(name)
    return { name, redis.call('HGETALL', 'maas:dataset:' .. name) }
end

local function no_dataset(name)
    return fail('NOT_FOUND', "there is no dataset '" .. name .. "'")
end

-- maas:dataset:NAME:profile: hash file, target, state, json, error, lease, attempts.
-- It is of the files as they are: when they change, it goes.
local function forget_profile(name)
    redis.call('DEL', 'maas:dataset:' .. name .. ':profile')
    redis.call('ZREM', 'maas:profiles:queue', name)
    redis.call('ZREM', 'maas:profiles:running', name)
end

-- dataset file digest size chunks packed max_files -> {dataset}
redis.register_function('maas_file_commit', function(_, a)
    local name, key = a[1], 'maas:dataset:' .. a[1]
    if redis.call('HEXISTS', key, a[2]) == 0 and redis.call('HLEN', key) >= tonumber(a[7]) then
        return fail('INVALID', "dataset '" .. name .. "' has " .. a[7] .. ' files already')
    end
    if redis.call('SISMEMBER', 'maas:datasets', name) == 0 and
        redis.call('SCARD', 'maas:datasets') >= DATASETS_MAX then
        return fail('FULL', 'there are ' .. DATASETS_MAX .. ' datasets, which is the limit')
    end
    local err = artifacts.check(a[3], a[4], a[5])
    if err then
        return err
    end
    local old = redis.call('HGET', key .. ':digests', a[2])
    artifacts.hold(a[3], a[4], a[5])
    artifacts.release_all(old or '')
    redis.call('HSET', key, a[2], a[6])
    redis.call('HSET', key .. ':digests', a[2], a[3])
    redis.call('SADD', 'maas:datasets', name)
    forget_profile(name)
    return { dataset(name) }
end)

-- name or '' for all -> {{name, {file, packed ...}}...}
redis.register_function{
    function_name = 'maas_datasets',
    flags = { 'no-writes' },
    callback = function(_, a)
        if a[1] ~= '' then
            if redis.call('SISMEMBER', 'maas:datasets', a[1]) == 0 then
                return no_dataset(a[1])
            end
            return { dataset(a[1]) }
        end
        local out = {}
        local names = redis.call('SMEMBERS', 'maas:datasets')
        table.sort(names)
        for i, name in ipairs(names) do
            out[i] = dataset(name)
        end
        return out
    end,
}

-- The id of a job that needs the dataset and has not ended, or nil.
local function job_of_dataset(name)
    for _, where in ipairs({ 'maas:trainings:running', 'maas:trainings:queue' }) do
        for _, id in ipairs(redis.call('ZRANGE', where, 0, -1)) do
            local submit = redis.call('HGET', 'maas:training:' .. id, 'submit')
            if submit and cmsgpack.unpack(submit)[3] == name then -- tag of struct submit
                return id
            end
        end
    end
    return nil
end

-- name file -> {dataset}, or {} when nothing is left of it.  file '': all
redis.register_function(when_full('maas_dataset_delete', function(_, a)
    local name, file, key = a[1], a[2], 'maas:dataset:' .. a[1]
    if redis.call('SISMEMBER', 'maas:datasets', name) == 0 then
        return no_dataset(name)
    end
    if file ~= '' and redis.call('HEXISTS', key, file) == 0 then
        return fail('NOT_FOUND', "dataset '" .. name .. "' has no file '" .. file .. "'")
    end
    local job = job_of_dataset(name)
    if job then
        return fail('CONFLICT', 'the training job ' .. job .. " needs the dataset '" .. name ..
            "'; cancel it first")
    end
    for _, each in ipairs(file ~= '' and { file } or redis.call('HKEYS', key)) do
        artifacts.release_all(redis.call('HGET', key .. ':digests', each) or '')
        redis.call('HDEL', key, each)
        redis.call('HDEL', key .. ':digests', each)
    end
    forget_profile(name)
    if redis.call('EXISTS', key) == 1 then
        return { dataset(name) }
    end
    redis.call('SREM', 'maas:datasets', name)
    return {}
end))

-- ---- profiles

local PROFILE_SHOWN = { 'file', 'target', 'state', 'json', 'error', 'lease' }

local function profile(name)
    local values = redis.call('HMGET', 'maas:dataset:' .. name .. ':profile', unpack(PROFILE_SHOWN))
    local out = { 'dataset', name }
    for i, what in ipairs(PROFILE_SHOWN) do
        out[#out + 1] = what
        out[#out + 1] = values[i] or ''
    end
    return out
end

local function profile_to_queue(name)
    redis.call('ZREM', 'maas:profiles:running', name)
    redis.call('ZADD', 'maas:profiles:queue', now_ms(), name)
    redis.call('HSET', 'maas:dataset:' .. name .. ':profile', 'state', QUEUED, 'lease', '0')
end

local function profile_to_end(name, state, json, message)
    redis.call('ZREM', 'maas:profiles:running', name)
    redis.call('HSET', 'maas:dataset:' .. name .. ':profile', 'state', state, 'json', json, 'error',
        message)
end

-- name file target -> {profile}
redis.register_function('maas_profile_get', function(_, a)
    local name, file, key = a[1], a[2], 'maas:dataset:' .. a[1]
    if redis.call('SISMEMBER', 'maas:datasets', name) == 0 then
        return no_dataset(name)
    end
    if file == '' then
        local files = redis.call('HKEYS', key)
        table.sort(files)
        file = files[1]
    elseif redis.call('HEXISTS', key, file) == 0 then
        return fail('NOT_FOUND', "dataset '" .. name .. "' has no file '" .. file .. "'")
    end
    local kept = redis.call('HMGET', key .. ':profile', 'file', 'target', 'state')
    if kept[1] ~= file or kept[2] ~= a[3] then
        if kept[3] == QUEUED or kept[3] == RUNNING then
            return fail('BUSY', "another profile of dataset '" .. name ..
                "' is being made; try again")
        end
        forget_profile(name)
        redis.call('HSET', key .. ':profile', 'file', file, 'target', a[3])
        profile_to_queue(name)
    end
    return { profile(name) }
end)

-- -> {profile, dataset}
redis.register_function('maas_profile_claim', function(_, _)
    local now = now_ms()
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', 'maas:profiles:running', '-inf', now)) do
        local attempts = redis.call('HGET', 'maas:dataset:' .. name .. ':profile', 'attempts')
        if tonumber(attempts or '0') >= TRAINING_ATTEMPTS then
            profile_to_end(name, BROKEN, '', 'its trainer died ' .. attempts .. ' times')
        else
            profile_to_queue(name)
        end
    end
    local first = redis.call('ZPOPMIN', 'maas:profiles:queue')
    if #first == 0 then
        return fail('NOT_FOUND', 'no profile is wanted')
    end
    local name, key = first[1], 'maas:dataset:' .. first[1] .. ':profile'
    redis.call('HINCRBY', key, 'attempts', 1)
    redis.call('HSET', key, 'state', RUNNING, 'lease', text(redis.call('INCR', 'maas:trainings:lease')))
    redis.call('ZADD', 'maas:profiles:running', now + TRAINING_LEASE_MS, name)
    return { profile(name), dataset(name) }
end)

-- name lease state json error -> {profile}
redis.register_function('maas_profile_update', function(_, a)
    local name, state, key = a[1], a[3], 'maas:dataset:' .. a[1] .. ':profile'
    local now = redis.call('HMGET', key, 'state', 'lease')
    if now[1] ~= RUNNING or now[2] ~= a[2] then
        return fail('CONFLICT', "the profile of '" .. name .. "' is not yours any more")
    end
    if state == RUNNING then
        redis.call('ZADD', 'maas:profiles:running', now_ms() + TRAINING_LEASE_MS, name)
    elseif state == QUEUED then
        redis.call('HINCRBY', key, 'attempts', -1)
        profile_to_queue(name)
    elseif state == DONE or state == BROKEN then
        profile_to_end(name, state, a[4], a[5])
    else
        return fail('INVALID', 'a trainer cannot say state ' .. state)
    end
    return { profile(name) }
end)
