-- jobs.lua - training jobs, presence.

-- ---- training: waiting jobs are in queue, running ones in running, the others in neither

local SHOWN = { 'submit', 'update', 'state', 'metrics', 'version', 'error', 'attempts', 'trainer',
    'created_ms', 'started_ms', 'finished_ms', 'lease', 'cancel', 'checkpoint' }

-- {name, value ...} without the history, which may be long; nil: there is no such job.  One that is
-- done says where the catalog is now: from there on it has the version.
local function training(id)
    local values = redis.call('HMGET', 'maas:training:' .. id, unpack(SHOWN))
    if not values[1] then
        return nil
    end
    local out = { 'id', id }
    for i, name in ipairs(SHOWN) do
        out[#out + 1] = name
        out[#out + 1] = values[i] or ''
        if name == 'state' and values[i] == DONE then
            out[#out + 1] = 'catalog'
            out[#out + 1] = catalog_seq()
        end
    end
    return out
end

local function training_whole(id)
    local out = training(id)
    if out then
        out[#out + 1] = 'history'
        out[#out + 1] = redis.call('HGET', 'maas:training:' .. id, 'history') or ''
    end
    return out
end

local function no_job(id)
    return fail('NOT_FOUND', "there is no training job '" .. id .. "'")
end

local function to_queue(id)
    leave_trainer(id)
    redis.call('ZADD', 'maas:trainings:queue', tonumber(id:sub(2)), id)
    redis.call('HSET', 'maas:training:' .. id, 'state', QUEUED)
end

local function to_end(id, state, message)
    redis.call('HSET', 'maas:training:' .. id, 'state', state, 'error', message, 'finished_ms',
        text(now_ms()))
    redis.call('ZREM', 'maas:trainings:queue', id)
    leave_trainer(id)
    drop_checkpoint(id)
end

local function forget_old_trainings()
    local surplus = redis.call('ZCARD', 'maas:trainings') - TRAININGS_KEPT
    if surplus <= 0 then
        return
    end
    for _, id in ipairs(redis.call('ZRANGE', 'maas:trainings', 0, surplus - 1)) do
        local state = redis.call('HGET', 'maas:training:' .. id, 'state')
        if state ~= QUEUED and state ~= RUNNING then
            redis.call('DEL', 'maas:training:' .. id)
            redis.call('ZREM', 'maas:trainings', id)
        end
    end
end

-- key dataset packed -> hash
redis.register_function('maas_training_submit', function(_, a)
    local again = a[1] ~= '' and redis.call('GET', 'maas:key:training:' .. a[1])
    if again then
        local before = redis.call('HGET', 'maas:training:' .. again, 'submit')
        if before and before ~= a[3] then
            return fail('CONFLICT', 'this key belongs to the training job ' .. again ..
                ', which is another')
        end
        return training_whole(again) or no_job(again)
    end
    if redis.call('SISMEMBER', 'maas:datasets', a[2]) == 0 then
        return no_dataset(a[2])
    end
    if redis.call('ZCARD', 'maas:trainings:queue') >= TRAININGS_WAITING_MAX then
        return fail('BUSY', TRAININGS_WAITING_MAX .. ' training jobs wait already; try again later')
    end
    local n = redis.call('INCR', 'maas:trainings:count')
    local id = 't' .. text(n)
    redis.call('HSET', 'maas:training:' .. id, 'submit', a[3], 'created_ms', text(now_ms()))
    redis.call('ZADD', 'maas:trainings', n, id)
    to_queue(id)
    forget_old_trainings()
    if a[1] ~= '' then
        redis.call('SET', 'maas:key:training:' .. a[1], id, 'PX', DAY_MS)
    end
    return training_whole(id)
end)

redis.register_function{
    function_name = 'maas_training_get',
    flags = { 'no-writes' },
    callback = function(_, a)
        return training_whole(a[1]) or no_job(a[1])
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

-- A job whose trainer has been silent goes back to the queue, or ends for good.
local function expire_leases()
    local late = redis.call('ZRANGEBYSCORE', 'maas:trainings:running', '-inf', now_ms())
    for _, id in ipairs(late) do
        local job = redis.call('HMGET', 'maas:training:' .. id, 'attempts', 'cancel')
        if job[2] == '1' then
            to_end(id, CANCELLED, '')
        elseif tonumber(job[1]) >= TRAINING_ATTEMPTS then
            to_end(id, BROKEN, 'its trainer died ' .. job[1] .. ' times')
        else
            to_queue(id)
        end
    end
end

-- trainer -> hash
-- A trainer has one job at a time: one that asks again has not heard the answer, and gets it again.
redis.register_function('maas_training_claim', function(_, a)
    expire_leases()
    local holder = 'maas:trainer:' .. a[1]
    local held = redis.call('GET', holder)
    if held and redis.call('ZSCORE', 'maas:trainings:running', held) then
        redis.call('ZADD', 'maas:trainings:running', now_ms() + TRAINING_LEASE_MS, held)
        return training_whole(held)
    end
    local first = redis.call('ZPOPMIN', 'maas:trainings:queue')
    if #first == 0 then
        return fail('NOT_FOUND', 'no training job waits')
    end
    local id, now = first[1], now_ms()
    local key = 'maas:training:' .. id
    local lease = redis.call('INCR', 'maas:trainings:lease')
    redis.call('HINCRBY', key, 'attempts', 1)
    local at = redis.call('HMGET', key, 'checkpoint_update', 'checkpoint_history')
    redis.call('HDEL', key, 'update', 'history')
    if at[1] then
        redis.call('HSET', key, 'update', at[1], 'history', at[2])
    end
    redis.call('HSET', key, 'state', RUNNING, 'trainer', a[1], 'lease', text(lease), 'started_ms',
        text(now))
    redis.call('ZADD', 'maas:trainings:running', now + TRAINING_LEASE_MS, id)
    redis.call('SET', holder, id)
    return training_whole(id)
end)

-- id lease state packed history error -> hash
redis.register_function('maas_training_update', function(_, a)
    local id, key, state = a[1], 'maas:training:' .. a[1], a[3]
    local err = not_yours(id, a[2])
    if err then
        return err
    end
    if state ~= RUNNING and state ~= QUEUED and state ~= BROKEN and state ~= CANCELLED then
        return fail('INVALID', 'a trainer cannot say state ' .. state)
    end
    if state == RUNNING then
        redis.call('ZADD', 'maas:trainings:running', now_ms() + TRAINING_LEASE_MS, id)
    elseif state == QUEUED and redis.call('HGET', key, 'cancel') == '1' then
        to_end(id, CANCELLED, '')
    elseif state == QUEUED then
        to_queue(id)
        redis.call('HINCRBY', key, 'attempts', -1)
    else
        to_end(id, state, a[6])
    end
    if state ~= QUEUED then
        redis.call('HSET', key, 'update', a[4], 'history', a[5])
    end
    return training_whole(id)
end)

-- id lease digest size chunks packed history -> hash.  packed, history: how far the job was then
redis.register_function('maas_training_checkpoint', function(_, a)
    local id, key = a[1], 'maas:training:' .. a[1]
    local err = not_yours(id, a[2])
    if err then
        return err
    end
    if artifacts.check(a[3], a[4], a[5]) then
        return fail('BUSY', 'the state is not there, whole; upload it again')
    end
    local old = redis.call('HGET', key, 'checkpoint')
    artifacts.hold(a[3], a[4], a[5])
    artifacts.release_all(old or '')
    redis.call('HSET', key, 'checkpoint', a[3], 'checkpoint_update', a[6], 'checkpoint_history', a[7])
    redis.call('ZADD', 'maas:trainings:running', now_ms() + TRAINING_LEASE_MS, id)
    return training_whole(id)
end)

redis.register_function('maas_training_cancel', function(_, a)
    local id, key = a[1], 'maas:training:' .. a[1]
    local state = redis.call('HGET', key, 'state')
    if not state then
        return no_job(id)
    end
    if state == QUEUED then
        to_end(id, CANCELLED, '')
    elseif state == RUNNING then
        redis.call('HSET', key, 'cancel', '1')
    elseif state ~= CANCELLED then
        return fail('CONFLICT', 'the training job ' .. id .. ' has ended already')
    end
    return training_whole(id)
end)

-- ---- presence

-- {packed, age_ms ...} of the processes whose role is in want (1 << role), at most 1024
local function processes(want, ttl_ms)
    local now, out = now_ms(), {}
    for role = 1, 31 do
        if bit.band(want, bit.lshift(1, role)) ~= 0 then
            local ids = redis.call('ZRANGEBYSCORE', 'maas:processes:' .. role, now, '+inf',
                'WITHSCORES', 'LIMIT', 0, 1024)
            for i = 1, #ids, 2 do
                local packed = redis.call('GET', 'maas:process:' .. ids[i])
                if packed then
                    out[#out + 1] = packed
                    out[#out + 1] = text(math.max(0, now + ttl_ms - tonumber(ids[i + 1])))
                end
            end
        end
    end
    return out
end

-- id role packed ttl_ms leaving want -> processes
-- Presence is not worth a disk write each second: it stays out of the append-only file.
redis.register_function(when_full('maas_report', function(_, a)
    local id, ttl_ms, now = a[1], tonumber(a[4]), now_ms()
    local all, key = 'maas:processes:' .. a[2], 'maas:process:' .. a[1]
    expire_leases()
    redis.set_repl(redis.REPL_NONE)
    if a[5] == '1' then
        redis.call('DEL', key)
        redis.call('ZREM', all, id)
    else
        redis.call('SET', key, a[3], 'PX', a[4])
        redis.call('ZADD', all, now + ttl_ms, id)
    end
    redis.call('ZREMRANGEBYSCORE', all, '-inf', '(' .. now)
    return processes(tonumber(a[6]), ttl_ms)
end))

-- want ttl_ms -> processes
redis.register_function{
    function_name = 'maas_processes',
    flags = { 'no-writes' },
    callback = function(_, a)
        return processes(tonumber(a[1]), tonumber(a[2]))
    end,
}
