-- deployments.lua - what a model's plain name serves, and who has changed it.
--
-- Shares are a text "7:9500,8:500" (version:weight), versions one "9,10", a setting that nobody has
-- made is empty or 0.

local DEPLOYMENT = { 'version', 'previous', 'revision', 'changed_ms', 'max_batch', 'instances',
    'max_batch_delay_ms', 'traffic', 'previous_traffic', 'shadow', 'sticky', 'queue_max', 'pool',
    'rollout', 'slow_us' }
local SETTINGS = { 'instances', 'max_batch', 'max_batch_delay_ms', 'queue_max', 'pool', 'sticky',
    'shadow' }
local TEXTS = { traffic = true, previous_traffic = true, shadow = true, sticky = true, pool = true }

-- name -> text
local function deployment(model)
    local values = redis.call('HMGET', model_key(model), unpack(DEPLOYMENT))
    local d = { model = model }
    for i, name in ipairs(DEPLOYMENT) do
        d[name] = values[i] or (TEXTS[name] and '' or '0')
    end
    return d
end

-- {name, value ...}
local function deployment_pairs(d)
    local out = { 'model', d.model }
    for _, name in ipairs(DEPLOYMENT) do
        out[#out + 1] = name
        out[#out + 1] = d[name]
    end
    return out
end

-- {{version, weight} ...}
local function shares(list)
    local out = {}
    for n, weight in list:gmatch('(%d+):(%d+)') do
        out[#out + 1] = { n, weight }
    end
    return out
end

local function shares_text(list)
    local out = {}
    for i, share in ipairs(list) do
        out[i] = share[1] .. ':' .. share[2]
    end
    return table.concat(out, ',')
end

-- The version with the largest share, the first of several; '0': there is none.
local function largest(list)
    local best, most = '0', 0
    for _, share in ipairs(shares(list)) do
        if tonumber(share[2]) > most then
            best, most = share[1], tonumber(share[2])
        end
    end
    return best
end

local function has_share(list, n)
    return (',' .. list):find(',' .. n .. ':', 1, true) ~= nil
end

-- ---- as the history tells it

local function shares_json(list)
    local out = {}
    for i, share in ipairs(shares(list)) do
        out[i] = string.format('{"version":"%s","weight":%g}', share[1], share[2] / 100)
    end
    return '[' .. table.concat(out, ',') .. ']'
end

local function numbers_json(list)
    return '[' .. list:gsub('%d+', '"%0"') .. ']'
end

local function deployment_json(d)
    if d.changed_ms == '0' then -- never deployed, or the model was deleted since
        return ''
    end
    return '{"version":"' .. d.version .. '","traffic":' .. shares_json(d.traffic) ..
        ',"previous_traffic":' .. shares_json(d.previous_traffic) .. ',"shadow":' ..
        numbers_json(d.shadow) .. ',"sticky":' .. cjson.encode(d.sticky) .. ',"instances":' ..
        d.instances .. ',"max_batch":' .. d.max_batch .. ',"max_batch_delay_ms":' ..
        d.max_batch_delay_ms .. ',"queue_max":' .. d.queue_max .. ',"pool":' ..
        cjson.encode(d.pool) .. ',"revision":' .. d.revision .. '}'
end

-- ---- what may be deployed

-- nil, or an error reply: the version is not there, or cannot be loaded.  Who goes back names none,
-- so it is not the request that is wrong.
local function refuse_version(model, n, what)
    local v = redis.call('HMGET', version_key(model, n), 'check', 'reason')
    if not v[1] and what == 'rollback' then
        return fail('CONFLICT', "the deployment before cannot come back: model '" .. model ..
            "' has no version " .. n .. ' any more')
    end
    if not v[1] then
        return fail('INVALID', "model '" .. model .. "' has no version " .. n)
    end
    if v[1] == FAILED then
        return fail('CONFLICT', 'version ' .. n .. " of model '" .. model ..
            "' cannot be deployed: " .. (v[2] or 'it cannot be loaded'))
    end
    return nil
end

local function refuse_deployment(model, traffic, shadow, what)
    for _, share in ipairs(shares(traffic)) do
        local err = refuse_version(model, share[1], what)
        if err then
            return err
        end
    end
    for n in shadow:gmatch('%d+') do
        local err = refuse_version(model, n, what)
        if err then
            return err
        end
        if has_share(traffic, n) then
            return fail('INVALID', 'version ' .. n .. ' is in traffic and in shadow')
        end
    end
    return nil
end

-- ---- changing it

-- What serves until the versions of traffic are warm.  A version that no engine has loaded yet
-- serves nothing, so what was before it stays.  Empty: nothing, or none but those in traffic.
local function serves_meanwhile(model, d, traffic)
    local loaded, others = {}, false
    for _, share in ipairs(shares(d.traffic)) do
        if redis.call('HGET', version_key(model, share[1]), 'check') == PASSED then
            loaded[#loaded + 1] = share
        end
    end
    if #loaded == 0 then
        loaded = shares(d.previous_traffic)
    end
    for _, share in ipairs(loaded) do
        others = others or not has_share(traffic, share[1])
    end
    return others and traffic ~= '' and shares_text(loaded) or ''
end

-- The shadows that were there before, as far as they can stay: who takes requests now is none any
-- more, and neither is who has failed or was deleted since.
local function shadow_beside(model, shadow, traffic)
    local out = {}
    for n in shadow:gmatch('%d+') do
        local check = redis.call('HGET', version_key(model, n), 'check')
        if traffic ~= '' and not has_share(traffic, n) and check and check ~= FAILED then
            out[#out + 1] = n
        end
    end
    return table.concat(out, ',')
end

local function same_deployment(a, b)
    for _, name in ipairs(SETTINGS) do
        if a[name] ~= b[name] then
            return false
        end
    end
    return a.traffic == b.traffic
end

-- The deployment has become d, which gets its revision here.  more: further members of JSON for the
-- history, each with its comma, or ''.  -> {name, value ...}
local function put_deployment(model, d, old, who, what, more)
    local fields = {}
    d.version, d.previous = largest(d.traffic), largest(d.previous_traffic)
    d.revision = text(old.revision + 1)
    d.changed_ms = text(now_ms())
    for _, name in ipairs(DEPLOYMENT) do
        fields[#fields + 1] = name
        fields[#fields + 1] = d[name]
    end
    redis.call('HSET', model_key(model), unpack(fields))
    history(model, who, what, deployment_json(old), deployment_json(d):gsub('}$', '') .. more .. '}')
    local out = deployment_pairs(d)
    event('deployment', unpack(out, 2))
    return out
end

local function rollout_under_way(model, d)
    return fail('CONFLICT', 'a rollout of version ' .. d.rollout .. " of model '" .. model ..
        "' is under way; DELETE /api/models/" .. model .. '/rollout ends it')
end

-- settings: name -> text of those that shall change.  What is so already is no change: no revision,
-- no history, no event.  -> {name, value ...}, or an error reply; nothing is changed then.
local function deploy(model, traffic, settings, who, what)
    local old, d = deployment(model), deployment(model)
    if old.rollout ~= '0' then
        return rollout_under_way(model, old)
    end
    for _, name in ipairs(SETTINGS) do
        d[name] = settings[name] or d[name]
    end
    if traffic == '' or not settings.shadow or what == 'rollback' then
        d.shadow = shadow_beside(model, d.shadow, traffic)
    end
    local err = refuse_deployment(model, traffic, d.shadow, what)
    if err then
        return err
    end
    d.traffic = traffic
    if same_deployment(d, old) then
        return deployment_pairs(old)
    end
    if traffic ~= old.traffic then
        d.previous_traffic = serves_meanwhile(model, old, traffic)
    end
    if old.changed_ms ~= '0' then
        redis.call('HSET', model_key(model), 'before', cjson.encode(old))
    end
    return put_deployment(model, d, old, who, what, '')
end

local function traffic_of(n)
    return n == '0' and '' or n .. ':10000'
end

-- model who traffic, and name value of each setting that shall change -> deployment
redis.register_function('maas_deploy', function(_, a)
    local settings = {}
    if not model_known(a[1]) then
        return no_model(a[1])
    end
    for i = 4, #a, 2 do
        settings[a[i]] = a[i + 1]
    end
    return deploy(a[1], a[3], settings, a[2], 'deploy')
end)

-- What a keyed rollback has answered, nil, or an error reply.
local function rollback_of_key(key, model)
    local answer = key ~= '' and redis.call('GET', 'maas:key:rollback:' .. key)
    if not answer then
        return nil
    end
    local out = cjson.decode(answer)
    if out[2] ~= model then
        return fail('CONFLICT', "this key belongs to a rollback of model '" .. out[2] .. "'")
    end
    return out
end

-- model who key -> deployment
redis.register_function('maas_rollback', function(_, a)
    local model, key = a[1], a[3]
    local again = rollback_of_key(key, model)
    if again then
        return again
    end
    if not model_known(model) then
        return no_model(model)
    end
    local before = redis.call('HGET', model_key(model), 'before')
    if not before then
        return fail('CONFLICT', "model '" .. model .. "' has no deployment before the present one")
    end
    local old = cjson.decode(before)
    local out = deploy(model, old.traffic, old, a[2], 'rollback')
    if key ~= '' and not out.err then
        redis.call('SET', 'maas:key:rollback:' .. key, cjson.encode(out), 'PX', DAY_MS)
    end
    return out
end)
