-- versions.lua - what was registered, and what is said of it: checks, tags, aliases, history.

-- {model, number, record, check, checked, tags, description, revision}, or nil
local function version(model, n)
    local v = redis.call('HMGET', version_key(model, n), 'record', 'check', 'checked', 'tags',
        'description', 'revision')
    if not v[1] then
        return nil
    end
    return { model, n, v[1], v[2], v[3] or '', v[4] or '', v[5] or '', v[6] or '0' }
end

local function no_version(model, n)
    if not model_known(model) then
        return no_model(model)
    end
    return fail('NOT_FOUND', "model '" .. model .. "' has no version " .. n)
end

local function version_changed(model, n)
    redis.call('HINCRBY', version_key(model, n), 'revision', 1)
    local v = version(model, n)
    event('version', model, 'number', n, 'record', v[3], 'check', v[4], 'checked', v[5], 'tags', v[6],
        'description', v[7], 'revision', v[8])
    return v
end

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

-- What the job has needed while it had not ended.
local function drop_checkpoint(id)
    local key = 'maas:training:' .. id
    artifacts.release_all(redis.call('HGET', key, 'checkpoint') or '')
    redis.call('HDEL', key, 'checkpoint', 'checkpoint_update', 'checkpoint_history')
end

local function finish_training(id, n, metrics)
    redis.call('HSET', 'maas:training:' .. id, 'state', DONE, 'version', n, 'metrics', metrics,
        'finished_ms', text(now_ms()))
    leave_trainer(id)
    drop_checkpoint(id)
end

-- nil, or an error reply: the catalog takes no such versions, or bytes, more.
local function catalog_full(versions, bytes)
    local c = redis.call('HMGET', 'maas:catalog', 'versions', 'bytes')
    if tonumber(c[1] or 0) + versions > CATALOG_VERSIONS_MAX then
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
    return version(of, n) or
        fail('CONFLICT', 'this key belongs to version ' .. n .. ', which was deleted')
end

-- Gives the next number to a version that is complete.
local function add_version(model, digests, record, tags, description, bytes)
    local n = text(redis.call('HINCRBY', model_key(model), 'next', 1))
    grow_catalog(1, bytes)
    redis.call('ZADD', 'maas:models', 0, model)
    redis.call('ZADD', key_of(model, 'versions'), n, n)
    redis.call('HSET', version_key(model, n), 'record', record, 'digests', digests, 'check', PENDING,
        'tags', tags, 'description', description, 'bytes', text(bytes))
    redis.call('ZADD', 'maas:pending', 0, model .. ':' .. n)
    return n
end

-- key model digest size chunks record deploy training lease metrics who tags description shown
-- parts uploads -> version.  shown: members of JSON for the history
redis.register_function('maas_version_commit', function(_, a)
    local key, model, digest, record = a[1], a[2], a[3], a[6]
    local job, who, tags, description = a[8], a[11], a[12], a[13]
    local again = version_of_key(key, model, digest)
    if again then
        return again
    end
    local err = job ~= '' and not_yours(job, a[9]) or nil
    local bytes = #record + #tags + #description + 2 * #model + 64
    err = err or catalog_full(1, bytes)
    err = err or artifacts.uploads_open(a[16])
    err = err or artifacts.check(digest, a[4], a[5])
    err = err or artifacts.check_parts(a[15])
    if err then
        return err
    end
    local digests = artifacts.hold_all(digest, a[4], a[5], a[15])
    local n = add_version(model, digests, record, tags, description, bytes)
    artifacts.uploads_done(a[16], model .. ':' .. n)
    history(model, who, 'register', '', '{"version":"' .. n .. '","check":"pending",' .. a[14] ..
        ',"tags":' .. (tags ~= '' and tags or '{}') .. ',"description":' ..
        cjson.encode(description) .. '}')
    version_changed(model, n)
    if job ~= '' then
        finish_training(job, n, a[10])
    end
    if a[7] == '1' then -- while a rollout is under way it is registered only
        deploy(model, traffic_of(n), {}, who, 'deploy')
    end
    if key ~= '' then
        redis.call('SET', 'maas:key:version:' .. key, model .. ':' .. n .. ':' .. digest, 'PX',
            DAY_MS)
    end
    return version(model, n)
end)

-- ---- checks

-- worker number -> version.  Again with the same number of the worker's: the same version, as long
-- as it has it and nothing is decided, and it has it for as long again.
redis.register_function('maas_check_claim', function(_, a)
    local now, key = now_ms(), 'maas:claim:' .. a[1] .. ':' .. a[2]
    local due = redis.call('GET', key)
    if not due or not redis.call('ZSCORE', 'maas:pending', due) then
        due = redis.call('ZRANGEBYSCORE', 'maas:pending', '-inf', now, 'LIMIT', 0, 1)[1]
    end
    if not due then
        return fail('NOT_FOUND', 'no version waits for a check')
    end
    redis.call('ZADD', 'maas:pending', now + CHECK_LEASE_MS, due)
    -- it ends before the version is free: nobody claims then what somebody has
    redis.call('SET', key, due, 'PX', CHECK_LEASE_MS - 1)
    local model, n = due:match('^(.*):(%d+)$')
    return version(model, n)
end)

-- model number check checked who reason -> version; 0: it was decided before
redis.register_function('maas_version_checked', function(_, a)
    local model, n, key = a[1], a[2], version_key(a[1], a[2])
    local old = redis.call('HGET', key, 'check')
    if not old then
        return no_version(model, n)
    end
    redis.call('ZREM', 'maas:pending', model .. ':' .. n)
    if old ~= PENDING then
        return 0
    end
    grow_catalog(0, #a[4])
    redis.call('HINCRBY', key, 'bytes', #a[4])
    redis.call('HSET', key, 'check', a[3], 'checked', a[4], 'reason', a[6])
    history(model, a[5], 'check', '{"version":"' .. n .. '","check":"pending"}', '{"version":"' ..
        n .. '","check":"' .. (a[3] == PASSED and 'passed' or 'failed') .. '","reason":' ..
        cjson.encode(a[6]) .. '}')
    return version_changed(model, n)
end)

-- ---- tags and description

local function described_json(n, v)
    return '{"version":"' .. n .. '","tags":' .. (v[1] ~= '' and v[1] or '{}') ..
        ',"description":' .. cjson.encode(v[2]) .. '}'
end

-- {tags, description}
local function described(model, n)
    local v = redis.call('HMGET', version_key(model, n), 'tags', 'description')
    return { v[1] or '', v[2] or '' }
end

-- model number who, and name value of tags or description -> version
redis.register_function('maas_describe', function(_, a)
    local model, n, key = a[1], a[2], version_key(a[1], a[2])
    if redis.call('EXISTS', key) == 0 then
        return no_version(model, n)
    end
    local old = described(model, n)
    local new = { tags = old[1], description = old[2] }
    for i = 4, #a, 2 do
        new[a[i]] = a[i + 1]
    end
    local more = #new.tags + #new.description - #old[1] - #old[2]
    local err = more > 0 and catalog_full(0, more)
    if err then
        return err
    end
    if new.tags == old[1] and new.description == old[2] then
        return version(model, n)
    end
    grow_catalog(0, more)
    redis.call('HINCRBY', key, 'bytes', more)
    redis.call('HSET', key, 'tags', new.tags, 'description', new.description)
    history(model, a[3], 'describe', described_json(n, old),
        described_json(n, { new.tags, new.description }))
    return version_changed(model, n)
end)

-- ---- aliases

-- "champion:7,next:8"; records.c puts them in the order of their names
local function aliases_text(model)
    local list, out = redis.call('HGETALL', key_of(model, 'aliases')), {}
    for i = 1, #list, 2 do
        out[#out + 1] = list[i] .. ':' .. list[i + 1]
    end
    return table.concat(out, ',')
end

-- {model, revision, aliases}
local function aliases(model)
    return { model, redis.call('HGET', model_key(model), 'aliases_revision') or '0',
        aliases_text(model) }
end

local function alias_json(alias, n)
    return n == '0' and '' or '{"alias":"' .. alias .. '","version":"' .. n .. '"}'
end

-- nil, or an error reply.  expected: '' when it does not matter
local function refuse_alias(model, alias, n, now, expected)
    if not model_known(model) then
        return no_model(model)
    end
    local is = now == '0' and 'is not there' or 'stands for version ' .. now
    if expected ~= '' and expected ~= now then
        return fail('CONFLICT', "alias '" .. alias .. "' of model '" .. model .. "' " .. is ..
            ', which is not what was expected')
    end
    if n == '0' and now == '0' then
        return fail('NOT_FOUND', "model '" .. model .. "' has no alias '" .. alias .. "'")
    end
    if n ~= '0' and redis.call('EXISTS', version_key(model, n)) == 0 then
        return fail('INVALID', "model '" .. model .. "' has no version " .. n)
    end
    if now == '0' and redis.call('HLEN', key_of(model, 'aliases')) >= ALIASES_MAX then
        return fail('INVALID', "model '" .. model .. "' has " .. ALIASES_MAX ..
            ' aliases, which is the limit')
    end
    return nil
end

-- model alias number who expected -> aliases.  number 0: it goes; expected 0: it is not there
redis.register_function('maas_alias_put', function(_, a)
    local model, alias, n = a[1], a[2], a[3]
    local key = key_of(model, 'aliases')
    local now = redis.call('HGET', key, alias) or '0'
    local err = refuse_alias(model, alias, n, now, a[5])
    if err then
        return err
    end
    if n == now then
        return aliases(model)
    end
    if n == '0' then
        redis.call('HDEL', key, alias)
    else
        redis.call('HSET', key, alias, n)
    end
    redis.call('HINCRBY', model_key(model), 'aliases_revision', 1)
    history(model, a[4], 'alias', alias_json(alias, now), alias_json(alias, n))
    local all = aliases(model)
    event('aliases', model, 'revision', all[2], 'aliases', all[3])
    return all
end)

-- ---- deleting: a number is never given again

-- By what the version is used; nil: by nothing
local function used_by(model, n, d)
    local use = used_by_rollout(model, n, d)
    if use then
        return use
    elseif has_share(d.traffic, n) then
        return 'it is deployed'
    elseif has_share(d.previous_traffic, n) then
        return 'the deployment falls back on it'
    elseif (',' .. d.shadow .. ','):find(',' .. n .. ',', 1, true) then
        return 'it is a shadow of the deployment'
    end
    for alias, of in aliases_text(model):gmatch('([^:,]+):(%d+)') do
        if of == n then
            return "the alias '" .. alias .. "' stands for it"
        end
    end
    return nil
end

local function delete_version(model, n, who)
    local key = version_key(model, n)
    local v = redis.call('HMGET', key, 'digests', 'bytes')
    history(model, who, 'delete', described_json(n, described(model, n)), '')
    redis.call('DEL', key)
    redis.call('ZREM', key_of(model, 'versions'), n)
    redis.call('ZREM', 'maas:pending', model .. ':' .. n)
    grow_catalog(-1, -(tonumber(v[2]) or 0))
    artifacts.release_all(v[1] or '')
    event('version', model, 'number', n, 'deleted', '1')
end

-- What is left of a model without versions: its history, and the numbers that must not come again.
local function forget_model(model)
    local gone = { 'before' }
    for _, name in ipairs(DEPLOYMENT) do
        if name ~= 'revision' then
            gone[#gone + 1] = name
        end
    end
    redis.call('HDEL', model_key(model), unpack(gone))
    forget_rollout(model)
    redis.call('ZREM', 'maas:models', model)
end

-- model number who -> {number}
redis.register_function(when_full('maas_version_delete', function(_, a)
    local model, n = a[1], a[2]
    if redis.call('EXISTS', version_key(model, n)) == 0 then
        return no_version(model, n)
    end
    local use = used_by(model, n, deployment(model))
    if use then
        return fail('CONFLICT', 'version ' .. n .. " of model '" .. model .. "' is in use: " .. use)
    end
    delete_version(model, n, a[3])
    if redis.call('ZCARD', key_of(model, 'versions')) == 0 then
        forget_model(model)
    end
    return { n }
end))

-- model who -> {number ...}
redis.register_function(when_full('maas_model_delete', function(_, a)
    local model = a[1]
    if not model_known(model) then
        return no_model(model)
    end
    local d, numbers = deployment(model), redis.call('ZRANGE', key_of(model, 'versions'), 0, -1)
    if #numbers > DELETED_MAX then
        return fail('CONFLICT', "model '" .. model .. "' has " .. #numbers ..
            ' versions, of which ' .. DELETED_MAX .. ' can go at once; delete some of them first')
    end
    for _, n in ipairs(numbers) do
        local use = used_by(model, n, d)
        if use then
            return fail('CONFLICT', "model '" .. model .. "' is in use: version " .. n .. ', ' .. use)
        end
    end
    for _, n in ipairs(numbers) do
        delete_version(model, n, a[2])
    end
    forget_model(model)
    return numbers
end))

-- ---- reading

-- model before limit -> {more, {id, {name, value ...}} ...}, the newest first
redis.register_function{
    function_name = 'maas_history',
    flags = { 'no-writes' },
    callback = function(_, a)
        local key, limit = key_of(a[1], 'history'), tonumber(a[3])
        local out, bytes = { '0' }, 0
        if redis.call('EXISTS', key) == 0 then
            return no_model(a[1])
        end
        local from = a[2] == '' and '+' or '(' .. a[2]
        for _, entry in ipairs(redis.call('XREVRANGE', key, from, '-', 'COUNT', limit + 1)) do
            if #out > limit or bytes > HISTORY_PAGE_BYTES then
                out[1] = '1'
                break
            end
            out[#out + 1] = entry
            for _, part in ipairs(entry[2]) do
                bytes = bytes + #part
            end
        end
        return out
    end,
}

-- Appends what the page still takes of a model.  false: the page is full.
local function add_to_page(page, model, after)
    local entry = { deployment_pairs(deployment(model)), aliases(model) }
    page.out[#page.out + 1] = entry
    page.bytes = page.bytes - #entry[2][3] - 512
    for _, n in ipairs(redis.call('ZRANGEBYSCORE', key_of(model, 'versions'), '(' .. after, '+inf',
        'LIMIT', 0, page.left)) do
        local v = version(model, n)
        entry[#entry + 1] = v
        page.left = page.left - 1
        page.bytes = page.bytes - #v[3] - #v[5] - #v[6] - #v[7]
        if page.left == 0 or page.bytes <= 0 then
            page.out[2], page.out[3], page.out[4] = '1', model, n
            return false
        end
    end
    return true
end

-- after after_version versions bytes -> {seq, more, model, number, {deployment, aliases,
-- version...} for each model}: a page behind that version, of so many versions or bytes at most
redis.register_function{
    function_name = 'maas_snapshot',
    flags = { 'no-writes' },
    callback = function(_, a)
        local page = { out = { catalog_seq(), '0', '', '0' },
            left = tonumber(a[3]), bytes = tonumber(a[4]) }
        if a[1] ~= '' and model_known(a[1]) and not add_to_page(page, a[1], a[2]) then
            return page.out
        end
        local names = redis.call('ZRANGEBYLEX', 'maas:models', a[1] == '' and '-' or '(' .. a[1],
            '+', 'LIMIT', 0, page.left)
        for _, model in ipairs(names) do
            if not add_to_page(page, model, '0') then
                return page.out
            end
        end
        return page.out
    end,
}

