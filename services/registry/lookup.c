/* lookup.c - see lookup.h. */
#include "services/registry/lookup.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>

enum status password_read(const char *file, char out[REDIS_PASSWORD_MAX], struct error *err)
{
    FILE *f = fopen(file, "re");
    if (!f)
        return error_set(err, STATUS_INVALID, "the password file %s cannot be read: %s", file,
                         strerror(errno));
    setvbuf(f, NULL, _IONBF, 0); /* no second copy stays in memory */
    size_t len = fread(out, 1, REDIS_PASSWORD_MAX, f);
    bool broken = ferror(f);
    fclose(f);
    if (broken || len == REDIS_PASSWORD_MAX)
        return error_set(err, STATUS_INVALID, "the password file %s %s", file,
                         broken ? "cannot be read" : "is too long");
    out[len] = 0;
    out[strcspn(out, "\r\n")] = 0;
    if (!out[0])
        return error_set(err, STATUS_INVALID, "the password file %s has no password", file);
    return STATUS_OK;
}

static enum status resolve(const struct lookup *l, char ip[REDIS_IP_MAX], struct error *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *all = NULL;
    unsigned count = 0;
    if (getaddrinfo(l->place.host, NULL, &hints, &all) != 0)
        return error_set(err, STATUS_NOT_FOUND, "the host name is not known");
    for (struct addrinfo *a = all; a; a = a->ai_next)
        count++;
    struct addrinfo *pick = all;
    for (unsigned skip = count ? l->attempt % count : 0; skip; skip--)
        pick = pick->ai_next;
    bool named = pick && getnameinfo(pick->ai_addr, pick->ai_addrlen, ip, REDIS_IP_MAX, NULL, 0,
                                     NI_NUMERICHOST) == 0;
    freeaddrinfo(all);
    return named ? STATUS_OK : error_set(err, STATUS_NOT_FOUND, "the host name has no address");
}

void lookup_run(struct lookup *l)
{
    enum status st = STATUS_OK;
    if (l->place.port)
        st = resolve(l, l->ip, &l->err);
    if (!st && l->password_file[0])
        st = password_read(l->password_file, l->password, &l->err);
    l->err.status = st;
}
