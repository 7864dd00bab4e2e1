-- layout.lua - keys of older releases get their present names, once, when the library is loaded.
--
-- Layout 1 had maas:model:NAME, maas:version:NAME:N and maas:history:NAME, no zset of a model's
-- versions, a plain set maas:models, and deployments of one version.

local LAYOUT = '2'

-- The digest with this tag in a packed struct of schema.h: a bin of 32 bytes.  What is before it are
-- names and numbers.  '': there is none.
local function packed_digest(packed, tag)
    local _, at = packed:find(string.char(tag, 0xc4, 32), 1, true)
    return at and packed:sub(at + 1, at + 32) or ''
end

local function move_version(model, n)
    local old, new = 'maas:version:' .. model .. ':' .. n, version_key(model, n)
    if redis.call('EXISTS', old) == 0 then
        return
    end
    redis.call('RENAME', old, new)
    local v = redis.call('HMGET', new, 'record', 'checked')
    local digest = packed_digest(v[1], 4) -- tag of struct version
    redis.call('HSET', new, 'digests', digest, 'bytes',
        text(#v[1] + 2 * #model + 64 + #(v[2] or '')))
    redis.call('ZADD', key_of(model, 'versions'), n, n)
    artifacts.count(digest)
end

local function move_model(model)
    local key = model_key(model)
    if redis.call('EXISTS', 'maas:model:' .. model) == 0 then
        return
    end
    if redis.call('EXISTS', 'maas:history:' .. model) == 1 then
        redis.call('RENAME', 'maas:history:' .. model, key_of(model, 'history'))
    end
    redis.call('RENAME', 'maas:model:' .. model, key)
    local d = deployment(model)
    redis.call('HSET', key, 'traffic', traffic_of(d.version), 'previous_traffic',
        traffic_of(d.previous))
    for n = 1, tonumber(redis.call('HGET', key, 'next') or '0') do
        move_version(model, text(n))
    end
end

local function count_files()
    for _, name in ipairs(redis.call('SMEMBERS', 'maas:datasets')) do
        local key = 'maas:dataset:' .. name
        local files = redis.call('HGETALL', key)
        for i = 1, #files, 2 do
            local digest = packed_digest(files[i + 1], 2) -- tag of struct file
            redis.call('HSET', key .. ':digests', files[i], digest)
            artifacts.count(digest)
        end
    end
end

local function move_models()
    local new = 'maas:models:moved'
    for _, model in ipairs(redis.call('SMEMBERS', 'maas:models')) do
        move_model(model)
        redis.call('ZADD', new, 0, model)
    end
    if redis.call('EXISTS', new) == 1 then
        redis.call('RENAME', new, 'maas:models')
    end
end

-- mark -> OK.  The mark says that this Redis has the functions and the layout: last of all.
redis.register_function('maas_move', function(_, a)
    if redis.call('GET', 'maas:layout') ~= LAYOUT then
        if redis.call('TYPE', 'maas:models').ok == 'set' then
            move_models()
        end
        count_files()
        redis.call('SET', 'maas:layout', LAYOUT)
    end
    redis.call('SET', 'maas:library', a[1])
    return 'OK'
end)

