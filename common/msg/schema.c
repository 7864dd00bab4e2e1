/* schema.c - names of kinds, roles and states, and what a name may look like. */
#include "common/msg/schema.h"

#include <ctype.h>

const char *msg_kind_name(unsigned kind)
{
    switch (kind) {
#define X(kind, number, body, doc) \
    case number:                   \
        return #kind;
        MESSAGE_LIST(X)
#undef X
    default:
        return "?";
    }
}

static const char *pick(const char *const *names, size_t count, unsigned i)
{
    return i < count ? names[i] : "?";
}

static const char *const roles[] = { "none", "registry", "gateway", "worker", "trainer" };

const char *role_name(unsigned role)
{
    return pick(roles, sizeof roles / sizeof *roles, role);
}

enum role role_parse(struct bytes name)
{
    for (unsigned r = ROLE_REGISTRY; r < ROLE_COUNT; r++)
        if (bytes_equal_str(name, roles[r]))
            return (enum role)r;
    return ROLE_NONE;
}

const char *training_state_name(unsigned state)
{
    static const char *const names[] = { "queued", "running", "done", "failed", "cancelled" };
    return pick(names, sizeof names / sizeof *names, state);
}

const char *engine_state_name(unsigned state)
{
    static const char *const names[] = { "fetching", "loading", "ready", "failed", "leaving" };
    return pick(names, sizeof names / sizeof *names, state);
}

enum status name_check(struct bytes name, const char *what, struct error *err)
{
    const unsigned char *p = name.data;
    if (name.len == 0)
        return error_set(err, STATUS_INVALID, "%s is empty", what);
    if (name.len > MAX_NAME)
        return error_set(err, STATUS_INVALID, "%s has %zu bytes; at most %d are allowed", what,
                         name.len, MAX_NAME);
    for (size_t i = 0; i < name.len; i++) {
        bool ok = isalnum(p[i]) || (i > 0 && (p[i] == '.' || p[i] == '_' || p[i] == '-'));
        if (p[i] >= 0x80 || !ok)
            return error_set(err, STATUS_INVALID,
                             "%s has the character 0x%02x at position %zu; use letters, digits, "
                             "'.', '_' and '-', and begin with a letter or digit",
                             what, p[i], i);
    }
    return STATUS_OK;
}
