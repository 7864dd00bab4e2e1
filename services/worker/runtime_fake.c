/* runtime_fake.c - a runtime for tests; it counts only with --allow-fake.
 *
 * The artifact is one line of text:
 *     fake [load=MS] [ballast=MIB] [slow=MS] [add=NUMBER] [broken] [fatal] [unless=PATH] [abort]
 *          [input=NAME] [refusing] [fail=WORDS]
 *   load=MS      loading takes so long
 *   ballast=MIB  the model has so much memory
 *   unless=PATH  loading fails while there is such a file
 *   fail=WORDS   loading fails with the rest of the line as the reason
 *   abort        the process aborts while loading
 *   slow=MS      each run takes so long
 *   add=NUMBER   is added to the values that are echoed
 *   broken       each run fails with INTERNAL
 *   fatal        the process aborts when a row has the value 7
 *   refusing     each run fails with INVALID
 *   input=NAME   of its input, in place of "x"
 * The model has one input "x" and one output "y", FP32 [-1, 2]; a row (command, value) is
 * echoed after its command was carried out:
 *   0 nothing   1 sleep value ms   2 abort   3 exit with status value   4 fail with INVALID
 *   5 allocate value MiB and keep it   6 answer with a shape that does not fit the batch
 *   7 sleep value ms, whatever is said meanwhile
 */
#include "services/worker/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

enum command {
    FAKE_ECHO,
    FAKE_SLEEP,
    FAKE_ABORT,
    FAKE_EXIT,
    FAKE_FAIL,
    FAKE_LEAK,
    FAKE_SHAPE,
    FAKE_DEAF
};

#define LINE_MAX_BYTES  1024
#define FATAL_VALUE     7
#define SLEEP_MAX_MS    60000
#define BALLAST_MAX_MIB 1024

static const int64_t fake_shape[] = { -1, 2 };

static struct fake_model {
    uv_mutex_t lock;
    uv_cond_t changed;
    bool interrupted;
    void *ballast;
    double slow_ms; /* of each run */
    float add;
    bool broken, fatal, refusing;
    char input[MAX_NAME + 1];
} fake_model;

/* false: it was interrupted. */
static bool sleep_ms(double ms)
{
    struct fake_model *m = &fake_model;
    uint64_t now = uv_hrtime(), end = now;
    if (ms > 0 && ms <= SLEEP_MAX_MS)
        end += (uint64_t)(ms * 1e6);
    uv_mutex_lock(&m->lock);
    for (; now < end && !m->interrupted; now = uv_hrtime())
        uv_cond_timedwait(&m->changed, &m->lock, end - now);
    bool undisturbed = !m->interrupted;
    uv_mutex_unlock(&m->lock);
    return undisturbed;
}

static void interrupt(void *model, bool on)
{
    struct fake_model *m = model;
    uv_mutex_lock(&m->lock);
    m->interrupted = on;
    uv_cond_broadcast(&m->changed);
    uv_mutex_unlock(&m->lock);
}

/* "unless=PATH ...", or NULL. */
static bool is_forbidden(const char *word)
{
    char path[LINE_MAX_BYTES];
    return word && sscanf(word, "unless=%1023s", path) == 1 && access(path, F_OK) == 0;
}

/* All of it is touched.  NULL: none. */
static void *make_ballast(const char *word)
{
    double mib = word ? strtod(word + 8, NULL) : 0;
    size_t bytes = mib > 0 && mib <= BALLAST_MAX_MIB ? (size_t)mib << 20 : 0;
    return bytes ? memset(mem_alloc(bytes), 1, bytes) : NULL;
}

/* 0: the line lacks the word. */
static double number_behind(const char *line, const char *word)
{
    const char *at = strstr(line, word);
    return at ? strtod(at + strlen(word), NULL) : 0;
}

static struct bytes input_name(const char *line)
{
    char *name = fake_model.input;
    const char *at = strstr(line, "input=");
    size_t len = at ? strcspn(at + 6, " \n") : 0;
    if (!at || bytes_copy_str(bytes_of(at + 6, len), name, sizeof fake_model.input))
        snprintf(name, sizeof fake_model.input, "x");
    return bytes_str(name);
}

static enum status load(const char *path, const struct runtime_options *options, void **model,
                        struct signature *s, struct error *err)
{
    char line[LINE_MAX_BYTES];
    FILE *file = fopen(path, "re");
    (void)options;
    if (!file)
        return error_set(err, STATUS_IO, "cannot read the artifact: %m");
    bool ok = fgets(line, sizeof line, file) && strncmp(line, "fake", 4) == 0;
    fclose(file);
    if (!ok)
        return error_set(err, STATUS_INVALID, "a fake model begins with the word \"fake\"");
    const char *wait = strstr(line, "load="), *reason = strstr(line, "fail=");
    if (uv_mutex_init(&fake_model.lock) || uv_cond_init(&fake_model.changed))
        die("cannot make a lock");
    if (wait)
        sleep_ms(strtod(wait + 5, NULL));
    if (strstr(line, "abort"))
        abort();
    if (is_forbidden(strstr(line, "unless=")))
        return error_set(err, STATUS_INVALID, "the fake model must not be loaded now");
    if (reason)
        return error_set(err, STATUS_INVALID, "%.200s", reason + 5);
    *s = (struct signature){ .inputs_count = 1, .outputs_count = 1, .batchable = true };
    s->inputs[0] = (struct msg_tensor){ input_name(line), DT_FP32, { fake_shape, 2 } };
    s->outputs[0] = (struct msg_tensor){ bytes_str("y"), DT_FP32, { fake_shape, 2 } };
    fake_model.ballast = make_ballast(strstr(line, "ballast="));
    fake_model.slow_ms = number_behind(line, "slow=");
    fake_model.add = (float)number_behind(line, "add=");
    fake_model.broken = strstr(line, "broken");
    fake_model.fatal = strstr(line, "fatal");
    fake_model.refusing = strstr(line, "refusing");
    *model = &fake_model;
    return STATUS_OK;
}

static enum status obey(const float *row, bool *bad_shape, struct error *err)
{
    switch ((enum command)row[0]) {
    case FAKE_ECHO:
        return STATUS_OK;
    case FAKE_SLEEP:
        return sleep_ms(row[1]) ? STATUS_OK
                                : error_set(err, STATUS_CANCELLED, "the sleep was interrupted");
    case FAKE_ABORT:
        fputs("the fake model was told to abort\n", stderr);
        abort();
    case FAKE_EXIT:
        _exit((int)row[1]);
    case FAKE_FAIL:
        return error_set(err, STATUS_INVALID, "the fake model was told to fail");
    case FAKE_LEAK:
        memset(mem_alloc((size_t)row[1] << 20), 1, (size_t)row[1] << 20);
        return STATUS_OK;
    case FAKE_SHAPE:
        *bad_shape = true;
        return STATUS_OK;
    case FAKE_DEAF:
        usleep(1000 * (useconds_t)row[1]);
        return STATUS_OK;
    }
    return error_set(err, STATUS_INVALID, "the fake model knows no command %g", (double)row[0]);
}

static void echo(const struct fake_model *m, struct bytes in, struct frame *out)
{
    frame_init_copy(out, in);
    float *row = (float *)(uintptr_t)frame_bytes(out).data;
    for (size_t i = 1; i < in.len / sizeof *row; i += 2)
        row[i] += m->add;
}

static enum status run(void *model, const struct tensor_in *inputs, size_t inputs_count,
                       struct tensor_out *outputs, size_t *count, struct error *err)
{
    const struct fake_model *m = model;
    bool bad_shape = false;
    (void)inputs_count;
    if (!sleep_ms(m->slow_ms))
        return error_set(err, STATUS_CANCELLED, "the sleep was interrupted");
    if (m->broken)
        return error_set(err, STATUS_INTERNAL, "the fake model is broken");
    if (m->refusing)
        return error_set(err, STATUS_INVALID, "the fake model refuses all");
    for (int64_t i = 0; i < inputs[0].shape[0]; i++) {
        float row[2];
        memcpy(row, (const float *)inputs[0].data.data + 2 * i, sizeof row);
        if (m->fatal && row[1] == FATAL_VALUE)
            abort();
        enum status st = obey(row, &bad_shape, err);
        if (st)
            return st;
    }
    outputs[0].type = DT_FP32;
    outputs[0].rank = 2;
    outputs[0].shape[0] = bad_shape ? inputs[0].shape[0] + 1 : inputs[0].shape[0];
    outputs[0].shape[1] = 2;
    echo(m, inputs[0].data, &outputs[0].data);
    *count = 1;
    return STATUS_OK;
}

static void unload(void *model)
{
    struct fake_model *m = model;
    free(m->ballast);
    m->ballast = NULL;
}

const struct runtime runtime_fake = {
    .format = "fake", .load = load, .run = run, .interrupt = interrupt, .unload = unload
};
