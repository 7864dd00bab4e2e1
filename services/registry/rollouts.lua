-- rollouts.lua - a version gets its share of the requests in steps, as long as its limits hold.
--
--   maas:{NAME}:rollout          hash: the present rollout, or the last one; see ROLLOUT.  Until it
--                                ends also deployment and before: what an abort brings back, as JSON
--   maas:{NAME}:rollout:reports  hash gateway -> packed struct rollout_report, of its last step
--   maas:rollouts                set of the models whose rollouts are under way
--
-- A step is a deployment with a revision of its own, which says that it is one.  Gateways that know
-- of it report what they count; the registry that gets a report judges (guard.c), and asks for the next
-- step, or the end.  Who asks says which step it has judged, so several registries may do it.
--
-- Time passes from report to report, UNSEEN_MS at most: what nobody watches does not count.  A full
-- Redis keeps nobody from going back.

local ROLLOUTS_MAX = 100             -- under way at once: gateways report of each of them twice a second
local REPORTS_MAX = 256              -- of a step: gateways, and those that they were before a restart
local UNSEEN_MS = 2000
local SHARES_MAX, SHARES_WHOLE = 16, 10000    -- MAX_SHARES, SHARES_WHOLE (limits.h)
local ROLLING, ROLLED, ABORTED = '0', '1', '2'
local ASKED = { 'version', 'steps', 'hold_ms', 'limits', 'error_rate', 'slow_us' }

local function rollout_key(model)
    return key_of(model, 'rollout')
end

local function reports_key(model)
    return key_of(model, 'rollout:reports')
end

-- name -> text; nil: there has been none
local function rollout(model)
    local list, r = redis.call('HGETALL', rollout_key(model)), {}
    for i = 1, #list, 2 do
        r[list[i]] = list[i + 1]
    end
    return r.version and r
end

-- {{name, value ...}, {packed report ...}}; catalog: where that has got to
local function rollout_reply(model)
    local list = redis.call('HGETALL', rollout_key(model))
    list[#list + 1] = 'catalog'
    list[#list + 1] = catalog_seq()
    return { list, redis.call('HVALS', reports_key(model)) }
end

local function no_rollout(model)
    if not model_known(model) then
        return no_model(model)
    end
    return fail('NOT_FOUND', "model '" .. model .. "' has had no rollout")
end

-- What the step r.step gives to the version; nil: there is no such step.
local function step_weight(r)
    local place = 0
    for weight in r.steps:gmatch('%d+') do
        if place == tonumber(r.step) then
            return tonumber(weight)
        end
        place = place + 1
    end
    return nil
end

-- ---- steps

-- The largest share of those that are not n's, and the sum of them.
local function largest_other(list, n)
    local top, sum = nil, 0
    for _, share in ipairs(list) do
        if share[1] ~= n then
            sum = sum + share[2]
            top = (not top or tonumber(share[2]) > tonumber(top[2])) and share or top
        end
    end
    return top, sum
end

-- n gets the weight, at its place if it has one; the others what is left, in their proportion.  What
-- is lost in rounding goes to the largest; whose part rounds to nothing has none.
local function step_traffic(before, n, weight)
    local list, out = shares(before), {}
    local top, sum = largest_other(list, n)
    local left = SHARES_WHOLE - weight
    local for_top = left
    for _, share in ipairs(list) do
        local part = share[1] == n and weight or math.floor(left * share[2] / sum)
        if share[1] ~= n and share ~= top then
            for_top = for_top - part
        end
        out[#out + 1] = { share[1], part }
    end
    local kept, placed = {}, false
    for i, share in ipairs(out) do
        share[2] = list[i] == top and for_top or share[2]
        placed = placed or share[1] == n
        kept[#kept + 1] = share[2] > 0 and share or nil
    end
    kept[#kept + 1] = not placed and { n, weight } or nil
    return shares_text(kept)
end

-- numbers: members of JSON that tell what was measured, each with its comma, or ''
local function rollout_json(r, numbers)
    return ',"rollout":{"version":"' .. r.version .. '","state":"' ..
        (r.state == ROLLING and 'running' or r.state == ROLLED and 'done' or 'aborted') ..
        '","step":' .. text(r.step + 1) .. ',"weight":' .. string.format('%g', step_weight(r) / 100) ..
        numbers .. ',"reason":' .. cjson.encode(r.reason) .. '}'
end

local function put_step(model, r, who, what, numbers)
    local old, d = deployment(model), deployment(model)
    d.traffic = step_traffic(cjson.decode(r.deployment).traffic, r.version, step_weight(r))
    d.shadow = shadow_beside(model, d.shadow, d.traffic)
    if d.traffic ~= old.traffic then
        d.previous_traffic = serves_meanwhile(model, old, d.traffic)
    end
    d.rollout, d.slow_us = r.version, r.slow_us
    put_deployment(model, d, old, who, what, rollout_json(r, numbers))
    redis.call('HSET', rollout_key(model), 'step', r.step, 'revision', d.revision, 'since_ms',
        d.changed_ms, 'seen_ms', d.changed_ms, 'held_ms', '0', 'away_ms', '0', 'trouble', '',
        'ready_by', '', 'ready_ms', '0')
    redis.call('DEL', reports_key(model))
end

local function end_rollout(model, r, who, what, numbers)
    local old, d = deployment(model), deployment(model)
    d.rollout, d.slow_us = '0', '0'
    if r.state == ABORTED then
        local was = cjson.decode(r.deployment)
        d.traffic, d.previous_traffic = was.traffic, was.previous_traffic
        d.shadow = shadow_beside(model, was.shadow, was.traffic)
    end
    put_deployment(model, d, old, who, what, rollout_json(r, numbers))
    if r.state == ABORTED and r.before ~= '' then
        redis.call('HSET', model_key(model), 'before', r.before)
    elseif r.state == ABORTED then
        redis.call('HDEL', model_key(model), 'before')
    end
    redis.call('HSET', rollout_key(model), 'state', r.state, 'reason', r.reason, 'ended_ms',
        d.changed_ms)
    redis.call('HDEL', rollout_key(model), 'deployment', 'before')
    redis.call('SREM', 'maas:rollouts', model)
end

local function abort_rollout(model, r, who, reason, numbers)
    r.state, r.reason = ABORTED, reason
    end_rollout(model, r, who, 'rollout abort', numbers)
end

-- ---- beginning

-- nil, or an error reply
local function refuse_rollout(model, n, d)
    local list = shares(d.traffic)
    if #list == 0 then
        return fail('CONFLICT', "model '" .. model ..
            "' serves nothing: deploy a version first, a rollout brings in the next")
    end
    local err = refuse_version(model, n)
    if err then
        return err
    end
    if redis.call('HGET', version_key(model, n), 'check') ~= PASSED then
        return fail('CONFLICT', 'version ' .. n .. " of model '" .. model ..
            "' has not been checked yet; try again")
    end
    if not largest_other(list, n) then
        return fail('CONFLICT', 'version ' .. n .. " of model '" .. model ..
            "' gets all requests already")
    end
    if #list >= SHARES_MAX and not has_share(d.traffic, n) then
        return fail('CONFLICT', "the traffic of model '" .. model .. "' has " .. SHARES_MAX ..
            ' versions, which is the limit')
    end
    if redis.call('SCARD', 'maas:rollouts') >= ROLLOUTS_MAX then
        return fail('BUSY', ROLLOUTS_MAX .. ' rollouts are under way, which is the limit')
    end
    return nil
end

-- The same request, sent again
local function is_same(r, asked)
    for _, name in ipairs(ASKED) do
        if r[name] ~= asked[name] then
            return false
        end
    end
    return true
end

-- model who version steps hold_ms limits error_rate slow_us -> rollout
redis.register_function('maas_rollout_begin', function(_, a)
    local model, who, d = a[1], a[2], deployment(a[1])
    local r = { step = '0', state = ROLLING, reason = '', who = who, begun_ms = text(now_ms()),
        ended_ms = '0', deployment = cjson.encode(d), id = text(d.revision + 1),
        before = redis.call('HGET', model_key(model), 'before') or '' }
    for i, name in ipairs(ASKED) do
        r[name] = a[i + 2]
    end
    if not model_known(model) then
        return no_model(model)
    end
    if d.rollout ~= '0' then
        return is_same(rollout(model), r) and rollout_reply(model) or rollout_under_way(model, d)
    end
    local err = refuse_rollout(model, r.version, d)
    if err then
        return err
    end
    redis.call('DEL', rollout_key(model))
    for name, value in pairs(r) do
        redis.call('HSET', rollout_key(model), name, value)
    end
    redis.call('SADD', 'maas:rollouts', model)
    put_step(model, r, who, 'rollout begin', '')
    redis.call('HSET', model_key(model), 'before', r.deployment)
    return rollout_reply(model)
end)

-- ---- watching

-- ready_by: the gateway that had an engine of the version last, by what it has said in the last
-- UNSEEN_MS, or ''.  While one has, the hold goes on: the others give its requests to other versions.
local function note_engines(r, gateway, has, now)
    r.ready_by, r.ready_ms = r.ready_by or '', r.ready_ms or '0'
    if has then
        r.ready_by, r.ready_ms = gateway, text(now)
    elseif r.ready_by == gateway or now - r.ready_ms > UNSEEN_MS then
        r.ready_by = ''
    end
end

-- model revision gateway packed engines trouble -> rollout; 0: that step is over
redis.register_function(when_full('maas_rollout_report', function(_, a)
    local model, gateway = a[1], a[3]
    local r, reports = rollout(model), reports_key(model)
    if not r or r.state ~= ROLLING or r.revision ~= a[2] then
        return 0
    end
    if redis.call('HLEN', reports) < REPORTS_MAX or redis.call('HEXISTS', reports, gateway) == 1 then
        redis.call('HSET', reports, gateway, a[4])
    end
    local now = now_ms()
    local passed = math.min(math.max(now - r.seen_ms, 0), UNSEEN_MS)
    note_engines(r, gateway, tonumber(a[5]) > 0, now)
    if r.ready_by ~= '' then
        r.held_ms, r.away_ms, r.trouble = text(r.held_ms + passed), '0', ''
    else
        r.away_ms, r.trouble = text(r.away_ms + passed), a[6]
    end
    redis.call('HSET', rollout_key(model), 'seen_ms', text(now), 'held_ms', r.held_ms, 'away_ms',
        r.away_ms, 'trouble', r.trouble, 'ready_by', r.ready_by, 'ready_ms', r.ready_ms)
    return rollout_reply(model)
end))

-- model id revision reason numbers -> number of the step, -1: it is done; or 0: somebody was faster.
-- A reason aborts it, whatever its step is by now; none: the step with that revision has done well.
redis.register_function(when_full('maas_rollout_turn', function(_, a)
    local model, r = a[1], rollout(a[1])
    if not r or r.state ~= ROLLING or r.id ~= a[2] then
        return 0
    end
    if a[4] ~= '' then
        abort_rollout(model, r, 'rollout', a[4], a[5])
        return -1
    end
    if r.revision ~= a[3] then
        return 0
    end
    r.step = text(r.step + 1)
    if step_weight(r) then
        put_step(model, r, 'rollout', 'rollout step', a[5])
        return r.step + 1
    end
    r.step, r.state = text(r.step - 1), ROLLED
    end_rollout(model, r, 'rollout', 'rollout end', a[5])
    return -1
end))

-- model who -> rollout
redis.register_function(when_full('maas_rollout_abort', function(_, a)
    local model, r = a[1], rollout(a[1])
    if not r then
        return no_rollout(model)
    end
    if r.state == ROLLED then
        return fail('CONFLICT', 'the rollout of version ' .. r.version .. " of model '" .. model ..
            "' has ended: it gets all requests; POST /api/models/" .. model .. '/rollback')
    end
    if r.state == ROLLING then
        abort_rollout(model, r, a[2], 'aborted by ' .. a[2], '')
    end
    return rollout_reply(model)
end))

-- model -> rollout
redis.register_function{
    function_name = 'maas_rollout_get',
    flags = { 'no-writes' },
    callback = function(_, a)
        return rollout(a[1]) and rollout_reply(a[1]) or no_rollout(a[1])
    end,
}

-- By what part of a rollout the version is used; nil: by none
local function used_by_rollout(model, n, d)
    if d.rollout == '0' then
        return nil
    end
    local was = cjson.decode(rollout(model).deployment)
    if n == d.rollout then
        return 'a rollout brings it in'
    elseif has_share(was.traffic, n) or has_share(was.previous_traffic, n) then
        return 'a rollout may go back to it'
    end
    return nil
end

local function forget_rollout(model)
    redis.call('DEL', rollout_key(model), reports_key(model))
end

