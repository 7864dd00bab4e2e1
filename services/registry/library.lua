-- library.lua - before functions.lua: every function's name gets the library's version, which
-- functions.c has put above this.  So a registry with other functions calls none of these.
--
-- While a library is loaded, Redis' own table has nothing but register_function: the others are
-- looked up when a function runs.

local redis = {
    register_function = function(name, callback)
        if callback then
            return redis.register_function(name .. '_' .. VERSION, callback)
        end
        name.function_name = name.function_name .. '_' .. VERSION
        return redis.register_function(name)
    end,
    call = function(...) return redis.call(...) end,
    pcall = function(...) return redis.pcall(...) end,
    error_reply = function(text) return redis.error_reply(text) end,
    status_reply = function(text) return redis.status_reply(text) end,
    sha1hex = function(text) return redis.sha1hex(text) end,
    set_repl = function(where) return redis.set_repl(where) end,
    REPL_NONE = 0,
}

