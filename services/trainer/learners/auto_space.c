/* auto_space.c - the learners that are tried, and where their parameters are drawn from. */
#include "services/trainer/learners/auto.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum scale {
    LINEAR,
    LOGARITHMIC,
    WHOLE,
    WORDS,
    GIVEN /* the one word, also where nothing is drawn */
};

/* Linear models of tables are brought to their minimum, what else is drawn; of images, which are many
 * and wide, in mini-batches. */
enum used { ALWAYS, FOR_TABLES, FOR_IMAGES };

/* A parameter of a learner.  A learner that has none of that name goes without it. */
struct dimension {
    const char *learner;
    const char *param;
    enum used used;
    enum scale scale;
    double low, high;
    const char *const *words; /* JSON; of WORDS and GIVEN */
    size_t words_count;
};

static const char *const falling[] = { "\"cosine\"" };
static const char *const whole[] = { "\"lbfgs\"" };
static const char *const layers[] = { "[32]", "[64]", "[128]", "[256]", "[64, 32]", "[128, 64]" };
static const char *const shares[] = { "1", "0.8", "0.6", "0.4" };
static const char *const depths[] = { "0", "0", "12", "8", "5" };

static const struct dimension dimensions[] = {
    { "linear", "optimizer", FOR_TABLES, GIVEN, 0, 0, whole, COUNT(whole) },
    { "linear", "lr", FOR_IMAGES, LOGARITHMIC, 2e-3, 0.03, NULL, 0 },
    { "linear", "schedule", FOR_IMAGES, WORDS, 0, 0, falling, COUNT(falling) },
    { "linear", "epochs", FOR_IMAGES, WHOLE, 30, 200, NULL, 0 },
    { "linear", "weight_decay", ALWAYS, LOGARITHMIC, 1e-5, 0.3, NULL, 0 },
    { "logistic", "optimizer", FOR_TABLES, GIVEN, 0, 0, whole, COUNT(whole) },
    { "logistic", "lr", FOR_IMAGES, LOGARITHMIC, 3e-3, 0.2, NULL, 0 },
    { "logistic", "schedule", FOR_IMAGES, WORDS, 0, 0, falling, COUNT(falling) },
    { "logistic", "epochs", FOR_IMAGES, WHOLE, 30, 200, NULL, 0 },
    { "logistic", "weight_decay", ALWAYS, LOGARITHMIC, 1e-5, 0.1, NULL, 0 },
    { "mlp", "hidden", ALWAYS, WORDS, 0, 0, layers, COUNT(layers) },
    { "mlp", "lr", ALWAYS, LOGARITHMIC, 3e-3, 0.06, NULL, 0 },
    { "mlp", "schedule", ALWAYS, WORDS, 0, 0, falling, COUNT(falling) },
    { "mlp", "weight_decay", ALWAYS, LOGARITHMIC, 1e-5, 0.1, NULL, 0 },
    { "mlp", "epochs", ALWAYS, WHOLE, 20, 120, NULL, 0 },
    { "tree", "max_depth", ALWAYS, WHOLE, 2, 12, NULL, 0 },
    { "tree", "min_rows", ALWAYS, WHOLE, 1, 30, NULL, 0 },
    { "forest", "columns", ALWAYS, WORDS, 0, 0, shares, COUNT(shares) },
    { "forest", "max_depth", ALWAYS, WORDS, 0, 0, depths, COUNT(depths) },
    { "forest", "min_rows", ALWAYS, WHOLE, 1, 12, NULL, 0 },
    { "boosted", "rounds", ALWAYS, WHOLE, 30, 300, NULL, 0 },
    { "boosted", "lr", ALWAYS, LOGARITHMIC, 0.03, 0.3, NULL, 0 },
    { "boosted", "max_depth", ALWAYS, WHOLE, 1, 7, NULL, 0 },
    { "boosted", "min_weight", ALWAYS, LOGARITHMIC, 0.3, 10, NULL, 0 },
    { "boosted", "rows", ALWAYS, WORDS, 0, 0, shares, COUNT(shares) },
    { "boosted", "columns", ALWAYS, WORDS, 0, 0, shares, COUNT(shares) },
    { "boosted", "l2", ALWAYS, LOGARITHMIC, 0.1, 30, NULL, 0 },
};

/* In the order in which they are tried first: cheap ones before dear ones. */
static const char *const names[] = { "linear", "logistic", "tree", "boosted", "mlp", "forest" };

static bool fits(const struct learner *l, const struct table *t)
{
    unsigned task = t->outputs ? LEARNS_VALUES : LEARNS_CLASSES;
    return (l->tasks & task) && (!(l->tasks & LEARNS_ONLY_IMAGES) || t->image.channels);
}

static const struct param *param_of(const struct learner *l, const char *name)
{
    for (size_t i = 0; i < l->params_count; i++)
        if (strcmp(l->params[i].name, name) == 0)
            return &l->params[i];
    return NULL;
}

static double drawn(const struct dimension *d, struct random *random)
{
    double u = random_uniform(random);
    if (d->scale == LINEAR)
        return d->low + u * (d->high - d->low);
    double value = exp(log(d->low) + u * (log(d->high) - log(d->low)));
    return d->scale == WHOLE ? round(value) : value;
}

static void add_dimensions(struct auto_search *s, const struct learner *l, bool draw,
                           struct buf *json)
{
    enum used used = s->lesson->table->image.channels ? FOR_IMAGES : FOR_TABLES;
    for (size_t i = 0; i < COUNT(dimensions); i++) {
        const struct dimension *d = &dimensions[i];
        if (strcmp(d->learner, l->name) != 0 || !param_of(l, d->param))
            continue;
        if ((d->used != ALWAYS && d->used != used) || (!draw && d->scale != GIVEN))
            continue;
        buf_printf(json, "%s\"%s\": ", json->len > 1 ? ", " : "", d->param);
        if (d->words)
            buf_append_str(json, d->words[random_u64(&s->random) % d->words_count]);
        else
            buf_printf(json, "%.4g", drawn(d, &s->random));
    }
}

/* A trial has no rows to stop early by: what is held out judges it. */
static void fill_params(struct auto_search *s, bool draw, struct auto_trial *t)
{
    struct buf json = { 0 };
    buf_append_str(&json, "{");
    add_dimensions(s, t->learner, draw, &json);
    if (param_of(t->learner, "patience"))
        buf_printf(&json, "%s\"patience\": 0", json.len > 1 ? ", " : "");
    buf_append_str(&json, "}");
    snprintf(t->params, sizeof t->params, "%s", buf_cstr(&json));
    buf_finish(&json);
}

uint64_t auto_space_memory(const struct table *t, size_t rows, uint32_t threads)
{
    uint64_t most = 0;
    for (size_t i = 0; i < COUNT(names); i++) {
        const struct learner *l = learner_find(names[i]);
        if (!l || !fits(l, t))
            continue;
        void *params = mem_zalloc(l->params_size);
        l->defaults(params, t);
        uint64_t needs = l->memory(params, t, rows, threads);
        most = needs > most ? needs : most;
        free(params);
    }
    return most;
}

bool auto_draw(struct auto_search *s, struct auto_trial *out)
{
    const struct learner *fitting[COUNT(names)];
    size_t count = 0;
    for (size_t i = 0; i < COUNT(names); i++) {
        const struct learner *l = learner_find(names[i]);
        if (l && fits(l, s->lesson->table))
            fitting[count++] = l;
    }
    if (!count)
        return false;
    *out = (struct auto_trial){ 0 };
    if (s->trials_count < count)
        out->learner = fitting[s->trials_count];
    else if (s->best && random_u64(&s->random) % 2)
        out->learner = s->best->learner;
    else
        out->learner = fitting[random_u64(&s->random) % count];
    fill_params(s, s->trials_count >= count, out);
    return true;
}

void *auto_params_of(const struct auto_trial *t, const struct table *table)
{
    void *params = mem_zalloc(t->learner->params_size);
    struct param_set set = { t->learner->params, t->learner->params_count, params };
    struct error err;
    t->learner->defaults(params, table);
    if (params_parse(bytes_str(t->params), &set, 1, &err))
        t->learner->defaults(params, table); /* a limit of the learner is narrower than ours */
    return params;
}
