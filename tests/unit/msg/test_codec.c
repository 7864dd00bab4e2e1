/* test_codec.c - every message there and back, and what is refused with which words. */
#include "common/msg/codec.h"
#include "tests/unit/msg/fill.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <stdlib.h>

/* ---- there and back ---------------------------------------------------------------------- */

#define X(kind_name, number, body_name, doc)                                             \
    static void round_trip_##kind_name(struct fill *f, struct msg_decoder *d)            \
    {                                                                                    \
        struct msg_##body_name body;                                                     \
        struct buf b = { 0 };                                                            \
        struct msg m;                                                                    \
        struct error err = { .text = "" };                                               \
        uint64_t id = fill_random();                                                     \
        fill_struct_##body_name(f, &body);                                               \
        msg_encode(&b, MSG_##kind_name, id, &body);                                      \
        cr_assert_eq(msg_decode(d, buf_bytes(&b), &m, &err), STATUS_OK, "%s", err.text); \
        cr_assert_eq(m.kind, MSG_##kind_name);                                           \
        cr_assert_eq(m.id, id);                                                          \
        const char *differs = same_struct_##body_name(&body, m.body);                    \
        cr_assert_null(differs, "%s differs", differs);                                  \
        buf_finish(&b);                                                                  \
        fill_finish(f);                                                                  \
    }
MESSAGE_LIST(X)
#undef X

static void round_trip_all(unsigned zero_percent, int rounds)
{
    static struct fill f;
    struct msg_decoder d = { 0 };
    for (int i = 0; i < rounds; i++) {
        f.list_max = 1 + (size_t)rand() % 6;
        f.bytes_max = 1 + (size_t)rand() % 300;
        f.zero_percent = zero_percent;
#define X(kind_name, number, body_name, doc) round_trip_##kind_name(&f, &d);
        MESSAGE_LIST(X)
#undef X
    }
    msg_decoder_finish(&d);
}

Test(codec, every_message_with_every_field)
{
    srand(1);
    round_trip_all(0, 30);
}

Test(codec, every_message_with_some_fields)
{
    srand(2);
    round_trip_all(50, 100);
    round_trip_all(90, 100);
}

Test(codec, every_message_with_no_field_is_all_zero)
{
    round_trip_all(100, 1);
}

Test(codec, no_body_is_an_empty_one)
{
    struct msg_decoder d = { 0 };
    struct buf b = { 0 };
    struct msg m;
    struct error err;
    msg_encode(&b, MSG_DEPLOYMENT, 7, NULL);
    cr_assert_eq(msg_decode(&d, buf_bytes(&b), &m, &err), STATUS_OK);
    cr_assert_null(same_struct_deployment(&(struct msg_deployment){ 0 }, m.body));
    buf_finish(&b);
    msg_decoder_finish(&d);
}

Test(codec, bare_structs_there_and_back)
{
    static struct fill f = { .list_max = 3, .bytes_max = 100 };
    struct msg_decoder d = { 0 };
    struct error err = { .text = "" };
    const void *back;
    const char *differs;
    srand(3);
#define X(name, FIELDS)                                                                           \
    {                                                                                             \
        struct msg_##name body;                                                                   \
        struct buf b = { 0 };                                                                     \
        fill_struct_##name(&f, &body);                                                            \
        msg_pack(&b, &schema_##name, &body);                                                      \
        cr_assert_eq(msg_unpack(&d, &schema_##name, buf_bytes(&b), &back, &err), STATUS_OK, "%s", \
                     err.text);                                                                   \
        differs = same_struct_##name(&body, back);                                                \
        cr_assert_null(differs, "%s differs", differs);                                           \
        buf_finish(&b);                                                                           \
        fill_finish(&f);                                                                          \
    }
    STRUCT_LIST(X)
#undef X
    msg_decoder_finish(&d);
}

Test(codec, tags_are_unique_and_small)
{
#define TAG(S, type, name, tag, limit, doc)                                    \
    cr_assert(tag >= 1 && tag < 64, #S "." #name);                             \
    cr_assert(!(seen & 1ull << tag), #S "." #name " has a tag that is taken"); \
    seen |= 1ull << tag;
#define X(name, FIELDS)        \
    {                          \
        uint64_t seen = 0;     \
        FIELDS(TAG, TAG, name) \
        (void)seen;            \
    }
    STRUCT_LIST(X)
#undef X
}

/* ---- limits ------------------------------------------------------------------------------ */

static const char blank[MAX_CHUNKS * DIGEST_SIZE + 1]; /* for bin */
static char letters[MAX_PROFILE + 2];                  /* for str */
static const int64_t ones[LATENCY_SLOTS + 1];          /* for i64s */

#define SIZED_u32(p, n)     ((void)(p), (void)(n), false)
#define SIZED_u64(p, n)     ((void)(p), (void)(n), false)
#define SIZED_f64(p, n)     ((void)(p), (void)(n), false)
#define SIZED_boolean(p, n) ((void)(p), (void)(n), false)
#define SIZED_str(p, n)     (*(p) = bytes_of(letters, (n)), true)
#define SIZED_bin(p, n)     (*(p) = bytes_of(blank, (n)), true)
#define SIZED_i64s(p, n)    (*(p) = (struct i64s){ ones, (n) }, true)

static void check_limit(const struct schema_struct *s, const void *at, const void *beyond,
                        const char *name, size_t limit)
{
    struct msg_decoder d = { 0 };
    struct error err = { .text = "" };
    struct buf b = { 0 };
    const void *body;
    char number[24];
    msg_pack(&b, s, at);
    cr_assert_eq(msg_unpack(&d, s, buf_bytes(&b), &body, &err), STATUS_OK, "%s", err.text);
    buf_consume(&b, b.len);
    msg_pack(&b, s, beyond);
    cr_assert_eq(msg_unpack(&d, s, buf_bytes(&b), &body, &err), STATUS_INVALID, "%s", name);
    cr_assert(strstr(err.text, name), "\"%s\" does not name %s", err.text, name);
    snprintf(number, sizeof number, "%zu", limit);
    cr_assert(strstr(err.text, number), "\"%s\" does not name %s", err.text, number);
    buf_finish(&b);
    msg_decoder_finish(&d);
}

#define LIMIT_FIELD(S, type, name, tag, limit, doc)                        \
    {                                                                      \
        struct msg_##S at = { 0 }, beyond = { 0 };                         \
        if (SIZED_##type(&at.name, (size_t)(limit)) &&                     \
            SIZED_##type(&beyond.name, (size_t)(limit) + 1))               \
            check_limit(&schema_##S, &at, &beyond, #S "." #name, (limit)); \
    }
#define LIMIT_LIST(S, element, name, tag, limit, doc)                         \
    {                                                                         \
        struct msg_##S at = { 0 }, beyond = { 0 };                            \
        at.name = beyond.name = calloc((size_t)(limit) + 1, sizeof *at.name); \
        at.name##_count = (limit);                                            \
        beyond.name##_count = (size_t)(limit) + 1;                            \
        check_limit(&schema_##S, &at, &beyond, #S "." #name, (limit));        \
        free(at.name);                                                        \
    }

Test(codec, every_limit_holds_and_is_named)
{
    memset(letters, 'x', sizeof letters);
#define X(name, FIELDS) FIELDS(LIMIT_FIELD, LIMIT_LIST, name)
    STRUCT_LIST(X)
#undef X
}

/* ---- wrong types ------------------------------------------------------------------------- */

/* One value of each kind on the wire, and the schema types that take it. */
static const struct {
    const char *bytes;
    size_t len;
    const char *fits;
} values[] = {
    { "\xc0", 1, "" },                                    /* nil */
    { "\xc2", 1, "boolean" },                             /* false */
    { "\xc3", 1, "boolean" },                             /* true */
    { "\x05", 1, "u32 u64" },                             /* small integer */
    { "\xff", 1, "" },                                    /* -1 */
    { "\xd0\x80", 2, "" },                                /* int 8 */
    { "\xd3\x80\0\0\0\0\0\0\0", 9, "" },                  /* int 64 */
    { "\xd0\x07", 2, "u32 u64" },                         /* a signed 7 */
    { "\xce\xff\xff\xff\xff", 5, "u32 u64" },             /* uint 32 */
    { "\xcf\0\0\0\1\0\0\0\0", 9, "u64" },                 /* beyond 32 bits */
    { "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9, "u64" }, /* beyond 63 bits */
    { "\xca\x3f\x80\0\0", 5, "f64" },                     /* float 32 */
    { "\xcb\x3f\xf0\0\0\0\0\0\0", 9, "f64" },             /* float 64 */
    { "\xa1x", 2, "str" },                                /* fixstr */
    { "\xd9\1x", 3, "str" },                              /* str 8 */
    { "\xda\0\1x", 4, "str" },                            /* str 16 */
    { "\xdb\0\0\0\1x", 6, "str" },                        /* str 32 */
    { "\xc4\1x", 3, "bin" },                              /* bin 8 */
    { "\xc5\0\1x", 4, "bin" },                            /* bin 16 */
    { "\xc6\0\0\0\1x", 6, "bin" },                        /* bin 32 */
    { "\x90", 1, "i64s list" },                           /* no element */
    { "\x91\x05", 2, "i64s" },                            /* [5] */
    { "\x91\xff", 2, "i64s" },                            /* [-1] */
    { "\xdc\0\1\x05", 4, "i64s" },                        /* array 16 */
    { "\xdd\0\0\0\1\x05", 6, "i64s" },                    /* array 32 */
    { "\x91\xcf\x80\0\0\0\0\0\0\0", 10, "" },             /* beyond int64 */
    { "\x91\xc0", 2, "" },                                /* [nil] */
    { "\x91\xcb\x3f\xf0\0\0\0\0\0\0", 10, "" },           /* [1.0] */
    { "\x91\x80", 2, "list" },                            /* [{}] */
    { "\xdc\0\1\x80", 4, "list" },                        /* array 16 */
    { "\x91\x81\xa1x\1", 5, "" },                         /* [{"x": 1}] */
    { "\x91\xdf\0\0\0\0", 6, "list" },                    /* map 32 */
    { "\x80", 1, "" },                                    /* {} */
    { "\xa2x\0", 3, "" },                                 /* a NUL inside a string */
    { "\xd4\1x", 3, "" },                                 /* fixext 1 */
    { "\xc7\1\1x", 4, "" },                               /* ext 8 */
    { "\xc1", 1, "" },                                    /* never used */
};

static void check_types(const struct schema_struct *s, const char *name, unsigned tag,
                        const char *type)
{
    struct msg_decoder d = { 0 };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct error err = { .text = "" };
        struct buf b = { 0 };
        const void *body;
        buf_append(&b, "\x81", 1);
        buf_append(&b, &(unsigned char){ (unsigned char)tag }, 1);
        buf_append(&b, values[i].bytes, values[i].len);
        bool fits = strstr(values[i].fits, type) != NULL;
        enum status st = msg_unpack(&d, s, buf_bytes(&b), &body, &err);
        cr_assert_eq(st, fits ? STATUS_OK : STATUS_INVALID, "%s (%s), value %zu: %s", name, type, i,
                     err.text);
        unsigned char head = (unsigned char)values[i].bytes[0];
        bool is_ext = head == 0xd4 || head == 0xc7 || head == 0xc1;
        bool inner = strcmp(type, "list") == 0 && (head >> 4 == 9 || head == 0xdc || head == 0xdd);
        if (!fits && !is_ext && !inner)
            cr_assert(strstr(err.text, name), "\"%s\" does not name %s", err.text, name);
        buf_finish(&b);
    }
    msg_decoder_finish(&d);
}

Test(codec, wrong_types_are_refused_by_name)
{
#define TYPE_FIELD(S, type, name, tag, limit, doc) \
    check_types(&schema_##S, #S "." #name, (tag), #type);
#define TYPE_LIST(S, element, name, tag, limit, doc) \
    check_types(&schema_##S, #S "." #name, (tag), "list");
#define X(name, FIELDS) FIELDS(TYPE_FIELD, TYPE_LIST, name)
    STRUCT_LIST(X)
#undef X
}

/* ---- envelopes --------------------------------------------------------------------------- */

static enum status decode(const char *bytes, size_t len, struct msg *m, struct error *err)
{
    static struct msg_decoder d;
    /* A copy of the exact size: a sanitizer sees one byte too far. */
    void *copy = malloc(len ? len : 1);
    memcpy(copy, bytes, len);
    *err = (struct error){ .text = "" };
    *m = (struct msg){ .id = 99 };
    enum status st = msg_decode(&d, bytes_of(copy, len), m, err);
    free(copy);
    return st;
}

#define DECODE(bytes, m, err) decode((bytes), sizeof(bytes) - 1, (m), (err))

Test(codec, envelopes_that_are_none)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        { "", 0 },
        { "\xc0", 1 },
        { "\x80", 1 },
        { "\x90", 1 },
        { "\x92\x14\x01", 3 },                        /* no body */
        { "\x93\xff\x01\x80", 4 },                    /* kind -1 */
        { "\x93\xa1x\x01\x80", 5 },                   /* kind "x" */
        { "\x93\x14\xff\x80", 4 },                    /* id -1 */
        { "\x93\x14\xc0\x80", 4 },                    /* id nil */
        { "\x93\x14\x01\x90", 4 },                    /* the body is a list */
        { "\x93\x14\x01\xc0", 4 },                    /* or nil */
        { "\x93\x14\x01\x81\xa1x\x01", 7 },           /* a key that is no tag */
        { "\x93\x14\x01\x81\xff\x01", 6 },            /* -1 */
        { "\x93\x14\x01\x80\x00", 5 },                /* something follows */
        { "\x93\x07\x01\x82\x01\xa1x\x01\xa1x", 10 }, /* tag 1 twice */
    };
    struct msg m;
    struct error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(decode(bad[i].bytes, bad[i].len, &m, &err), STATUS_INVALID, "number %zu", i);
        cr_assert_gt(strlen(err.text), 0);
    }
    cr_assert(strstr(err.text, "deployment.model is there twice"), "%s", err.text);
    cr_assert_eq(DECODE("\x93\x14\x01\x80", &m, &err), STATUS_OK);
}

Test(codec, unknown_kinds_are_named)
{
    struct msg m;
    struct error err;
    for (unsigned kind = 0; kind < 128; kind++) {
        char bytes[] = { (char)0x93, (char)kind, 1, (char)0x80 };
        bool known = strcmp(msg_kind_name(kind), "?") != 0;
        cr_assert_eq(decode(bytes, 4, &m, &err), known ? STATUS_OK : STATUS_INVALID);
        if (!known)
            cr_assert(strstr(err.text, "kind"), "%s", err.text);
    }
    cr_assert_eq(DECODE("\x93\xcc\x80\x01\x80", &m, &err), STATUS_INVALID);
    cr_assert_eq(DECODE("\x93\xce\xff\xff\xff\xff\x01\x80", &m, &err), STATUS_INVALID);
    cr_assert_eq(DECODE("\x93\xcf\x80\0\0\0\0\0\0\x14\x01\x80", &m, &err), STATUS_INVALID);
}

Test(codec, the_id_is_known_even_if_the_body_is_wrong)
{
    struct msg m;
    struct error err;
    cr_assert_eq(DECODE("\x93\x07\x2a\x81\x01\x05", &m, &err), STATUS_INVALID);
    cr_assert_eq(m.id, 42);
    cr_assert(strstr(err.text, "deployment.model is not a string"), "%s", err.text);
}

Test(codec, what_a_newer_peer_adds_is_skipped)
{
    struct msg m;
    struct error err;
    /* An element more in the envelope; tags 60, 200 and 2^32 of any type, some of them twice. */
    cr_assert_eq(DECODE("\x94\x07\x01\x86\x3c\x93\xc0\x81\x01\x02\xa1z\x01\xa4iris\xcc\xc8\xc4\x02"
                        "\0\0\x3c\xcb\x3f\xf0\0\0\0\0\0\0\xcf\0\0\0\1\0\0\0\0\x90\x02\x09\xa3new",
                        &m, &err),
                 STATUS_OK, "%s", err.text);
    const struct msg_deployment *body = m.body;
    cr_assert(body->version == 9 && body->model.len == 4);
}

/* ---- lies and bombs ---------------------------------------------------------------------- */

Test(codec, huge_counts_in_few_bytes_reserve_nothing)
{
    static const struct {
        const char *bytes;
        size_t len;
    } lies[] = {
        { "\xdd\xff\xff\xff\xff\x00", 6 },
        { "\xdf\xff\xff\xff\xff\x00", 6 },
        { "\xdc\xff\xff\x00", 4 },
        { "\xde\xff\xff\x00", 4 },
        { "\xdb\xff\xff\xff\xff\x00", 6 },
        { "\xc6\xff\xff\xff\xff\x00", 6 },
        { "\xc9\xff\xff\xff\xff\x00", 6 },
        { "\xdd\x10\x00\x00\x00\x00", 6 },
        { "\x9f\xdd\x10\x00\x00\x00\x00", 7 },
        { "\x93\x03\x01\x81\x02\xdd\x00\x01\x00\x00\x80\x80", 12 },
        { "\x93\x03\x01\x81\x02\xdd\xff\xff\xff\xff\x80\x80", 12 },
        { "\x93\x03\x01\xdf\x80\x00\x00\x00\x01\x02", 10 },
        { "\x93\x3c\x01\x81\x05\x91\x81\x03\xdd\x7f\xff\xff\xff\x01", 14 },
    };
    struct msg m;
    struct error err;
    cr_assert_eq(DECODE("\x93\x14\x01\x80", &m, &err), STATUS_OK);
    struct mallinfo2 before = mallinfo2();
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        cr_assert_eq(decode(lies[i].bytes, lies[i].len, &m, &err), STATUS_INVALID, "lie %zu", i);
        struct mallinfo2 after = mallinfo2();
        cr_assert_leq(after.uordblks + after.hblkhd, before.uordblks + before.hblkhd + 16384);
    }
}

Test(codec, deep_nesting_is_refused)
{
    static const char heads[] = { (char)0x91, (char)0x81 };
    size_t len = 1000000;
    char *bytes = malloc(len);
    struct msg m;
    struct error err;
    for (size_t i = 0; i < sizeof heads; i++) {
        memset(bytes, heads[i], len);
        for (size_t depth = MAX_DEPTH; depth <= len; depth = depth * 3 + 1) {
            bytes[depth - 1] = (char)0xc0;
            cr_assert_eq(decode(bytes, depth, &m, &err), STATUS_INVALID);
            bytes[depth - 1] = heads[i];
        }
    }
    free(bytes);
}

Test(codec, more_objects_than_allowed_are_refused)
{
    size_t count = 5000000;
    struct buf b = { 0 };
    struct msg m;
    struct error err;
    buf_reserve(&b, count + 16);
    buf_append(&b, "\x93\x14\x01\x81\x3c\xdd", 6);
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_append(&b, &(unsigned char){ (unsigned char)(count >> shift) }, 1);
    memset(b.data + b.len, 0xc0, count);
    b.len += count;
    cr_assert_eq(decode((const char *)b.data, b.len, &m, &err), STATUS_INVALID);
    buf_finish(&b);
}

Test(codec, an_envelope_beyond_its_limit_is_refused)
{
    size_t len = MAX_ENVELOPE + 1;
    char *bytes = calloc(1, len);
    struct msg_decoder d = { 0 };
    struct msg m;
    struct error err;
    /* [PING, 1, {60: bin of the rest}] */
    memcpy(bytes, "\x93\x14\x01\x81\x3c\xc6", 6);
    size_t rest = len - 10;
    for (int i = 0; i < 4; i++)
        bytes[6 + i] = (char)(rest >> (24 - 8 * i));
    cr_assert_eq(msg_decode(&d, bytes_of(bytes, len), &m, &err), STATUS_INVALID);
    rest--;
    for (int i = 0; i < 4; i++)
        bytes[6 + i] = (char)(rest >> (24 - 8 * i));
    cr_assert_eq(msg_decode(&d, bytes_of(bytes, len - 1), &m, &err), STATUS_OK, "%s", err.text);
    free(bytes);
    msg_decoder_finish(&d);
}

/* ---- damage ------------------------------------------------------------------------------ */

#define X(kind_name, number, body_name, doc)                      \
    static void encode_##kind_name(struct fill *f, struct buf *b) \
    {                                                             \
        struct msg_##body_name body;                              \
        fill_struct_##body_name(f, &body);                        \
        msg_encode(b, MSG_##kind_name, 1, &body);                 \
        fill_finish(f);                                           \
    }
MESSAGE_LIST(X)
#undef X

typedef void damage_fn(struct buf *whole);

static void each_message(damage_fn *damage)
{
    static struct fill f = { .list_max = 2, .bytes_max = 20 };
#define X(kind_name, number, body_name, doc) \
    {                                        \
        struct buf b = { 0 };                \
        encode_##kind_name(&f, &b);          \
        damage(&b);                          \
        buf_finish(&b);                      \
    }
    MESSAGE_LIST(X)
#undef X
}

static void truncate_everywhere(struct buf *whole)
{
    struct msg m;
    struct error err;
    for (size_t len = 0; len < whole->len; len++)
        cr_assert_eq(decode((const char *)whole->data, len, &m, &err), STATUS_INVALID);
    cr_assert_eq(decode((const char *)whole->data, whole->len, &m, &err), STATUS_OK);
    buf_append(whole, "\xc0", 1);
    cr_assert_eq(decode((const char *)whole->data, whole->len, &m, &err), STATUS_INVALID);
}

Test(codec, a_message_that_is_cut_at_any_byte_is_refused)
{
    srand(4);
    each_message(truncate_everywhere);
}

/* What is taken must mean the same after another round. */
static void flip_bits(struct buf *whole)
{
    for (int i = 0; i < 3000; i++) {
        struct msg_decoder d = { 0 };
        struct buf damaged = { 0 };
        struct msg m;
        struct error err;
        buf_append_bytes(&damaged, buf_bytes(whole));
        for (int flips = 1 + rand() % 3; flips > 0; flips--)
            damaged.data[(size_t)rand() % damaged.len] ^= (unsigned char)(1 << rand() % 8);
        if (msg_decode(&d, buf_bytes(&damaged), &m, &err) == STATUS_OK) {
            struct buf once = { 0 }, twice = { 0 };
            struct msg_decoder e = { 0 };
            msg_encode(&once, m.kind, m.id, m.body);
            cr_assert_eq(msg_decode(&e, buf_bytes(&once), &m, &err), STATUS_OK, "%s", err.text);
            msg_encode(&twice, m.kind, m.id, m.body);
            cr_assert(bytes_equal(buf_bytes(&once), buf_bytes(&twice)));
            buf_finish(&once);
            buf_finish(&twice);
            msg_decoder_finish(&e);
        } else {
            cr_assert_gt(strlen(err.text), 0);
        }
        buf_finish(&damaged);
        msg_decoder_finish(&d);
    }
}

Test(codec, flipped_bits_do_no_harm)
{
    srand(5);
    each_message(flip_bits);
}

/* ---- the largest that must pass ---------------------------------------------------------- */

Test(codec, the_largest_requests_fit_the_registry_s_frame)
{
    static struct fill f = { .list_max = SIZE_MAX, .bytes_max = SIZE_MAX };
    struct buf b = { 0 };
    memset(letters, 'x', sizeof letters);
    struct msg_version_commit commit = { 0 };
#define FULL(S, type, name, tag, limit, doc)           \
    if (!SIZED_##type(&FULL_IN.name, (size_t)(limit))) \
        fill_##type(&f, &FULL_IN.name, limit);
#define NO_LIST(S, element, name, tag, limit, doc)
#define FULL_IN commit
    VERSION_COMMIT_FIELDS(FULL, NO_LIST, version_commit)
#undef FULL_IN
    msg_encode(&b, MSG_VERSION_COMMIT, UINT64_MAX, &commit);
    cr_assert_leq(b.len, CHUNK_BYTES);
    buf_consume(&b, b.len);

    struct msg_engine engine = { 0 };
    struct msg_counter counter = { 0 };
    struct msg_process process = { 0 };
#define FULL_IN engine
    ENGINE_FIELDS(FULL, NO_LIST, engine)
#undef FULL_IN
#define FULL_IN counter
    COUNTER_FIELDS(FULL, NO_LIST, counter)
#undef FULL_IN
#define FULL_IN process
    PROCESS_FIELDS(FULL, NO_LIST, process)
#undef FULL_IN
    process.engines = calloc(MAX_ENGINES, sizeof engine);
    process.counters = calloc(MAX_COUNTERS, sizeof counter);
    process.engines_count = MAX_ENGINES;
    process.counters_count = MAX_COUNTERS;
    for (size_t i = 0; i < MAX_ENGINES; i++)
        process.engines[i] = engine;
    for (size_t i = 0; i < MAX_COUNTERS; i++)
        process.counters[i] = counter;
    msg_encode(&b, MSG_REPORT, UINT64_MAX,
               &(struct msg_report){ .processes = &process, .processes_count = 1, .want = 1 });
    cr_assert_leq(b.len, CHUNK_BYTES, "%zu", b.len);
    free(process.engines);
    free(process.counters);
    buf_finish(&b);
    fill_finish(&f);
}

/* ---- the description --------------------------------------------------------------------- */

Test(codec, the_description_names_every_message_and_field)
{
    struct buf b = { 0 };
    schema_json(&b);
    const char *text = buf_cstr(&b);
#define NAMED(S, type, name, tag, limit, doc) \
    cr_assert(strstr(text, "{\"name\":\"" #name "\",\"tag\":" #tag ","), #S "." #name);
#define X(name, FIELDS)                         \
    cr_assert(strstr(text, "\"" #name "\":[")); \
    FIELDS(NAMED, NAMED, name)
    STRUCT_LIST(X)
#undef X
#define X(kind_name, number, body_name, doc) \
    cr_assert(strstr(text, "\"" #kind_name "\":{\"kind\":" #number ",\"body\":\"" #body_name "\""));
    MESSAGE_LIST(X)
#undef X
    buf_finish(&b);
}
