/* ensemble_json.c - the trees of a model that XGBoost wrote as JSON
 * (https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html).
 *
 * The text comes from the library and not from a peer, but another version of the library may
 * write another one: whatever is not as expected is INVALID, never a crash.
 */
#include "services/trainer/learners/ensemble.h"

#include <stdlib.h>
#include <yyjson.h>

#define NODES_OF_TREE_MAX ENSEMBLE_NODES_MAX

/* A tree in the JSON, its columns as they are needed. */
struct source {
    yyjson_val **left, **right, **feature, **threshold, **missing_left, **weights;
    size_t nodes;
    size_t width; /* weights of a node */
};

/* Elements of a list by index: yyjson's own walk is one after the other. */
static yyjson_val **elements(yyjson_val *tree, const char *name, size_t count)
{
    size_t i, max;
    yyjson_val *v, *list = yyjson_obj_get(tree, name);
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) != count)
        return NULL;
    yyjson_val **out = mem_alloc((count ? count : 1) * sizeof *out);
    yyjson_arr_foreach(list, i, max, v)
    {
        out[i] = v;
    }
    return out;
}

static void finish_source(struct source *s)
{
    free(s->left);
    free(s->right);
    free(s->feature);
    free(s->threshold);
    free(s->missing_left);
    free(s->weights);
}

/* Numbers among tree_param are strings. */
static size_t number_of(yyjson_val *object, const char *name)
{
    const char *text = yyjson_get_str(yyjson_obj_get(object, name));
    return text ? strtoul(text, NULL, 10) : 0;
}

static bool open_source(yyjson_val *tree, struct source *s)
{
    yyjson_val *about = yyjson_obj_get(tree, "tree_param");
    *s = (struct source){ .nodes = number_of(about, "num_nodes"),
                          .width = number_of(about, "size_leaf_vector") };
    s->width = s->width ? s->width : 1;
    if (!s->nodes || s->nodes > NODES_OF_TREE_MAX || s->width > ENSEMBLE_WEIGHTS_MAX / s->nodes)
        return false;
    s->left = elements(tree, "left_children", s->nodes);
    s->right = elements(tree, "right_children", s->nodes);
    s->feature = elements(tree, "split_indices", s->nodes);
    s->threshold = elements(tree, "split_conditions", s->nodes);
    s->missing_left = elements(tree, "default_left", s->nodes);
    /* A leaf with one weight has it where others have their thresholds. */
    s->weights = s->width > 1 ? elements(tree, "base_weights", s->nodes * s->width) : NULL;
    return s->left && s->right && s->feature && s->threshold && s->missing_left &&
           (s->width == 1 || s->weights);
}

static bool add_leaf(struct ensemble *e, const struct source *s, size_t from, float factor,
                     struct tree_node *to)
{
    *to = (struct tree_node){ .right = (uint32_t)e->weights_count };
    if (e->weights_count + s->width > ENSEMBLE_WEIGHTS_MAX)
        return false;
    for (size_t k = 0; k < s->width; k++) {
        yyjson_val *v = s->width > 1 ? s->weights[from * s->width + k] : s->threshold[from];
        e->weights[e->weights_count++] = (float)yyjson_get_num(v) * factor;
    }
    return true;
}

/* The children of an inner node are two numbers within the tree, larger than its own: there is
 * no way round in a circle. */
static bool has_children(const struct source *s, size_t node, size_t *left, size_t *right)
{
    int64_t l = yyjson_get_sint(s->left[node]), r = yyjson_get_sint(s->right[node]);
    if (l <= (int64_t)node || r <= (int64_t)node || l >= (int64_t)s->nodes ||
        r >= (int64_t)s->nodes)
        return false;
    *left = (size_t)l;
    *right = (size_t)r;
    return true;
}

/* Copies the nodes that can be reached, breadth first: children are neighbours. */
static enum status copy_nodes(struct ensemble *e, const struct source *s, float factor)
{
    size_t *queue = mem_alloc(s->nodes * sizeof *queue);
    struct tree_node *to = e->nodes + e->nodes_count;
    size_t end = 1, left, right;
    enum status st = STATUS_OK;
    queue[0] = 0;
    for (size_t at = 0; at < end && !st; at++) {
        size_t node = queue[at], feature = yyjson_get_uint(s->feature[node]);
        if (yyjson_get_sint(s->left[node]) == -1) {
            st = add_leaf(e, s, node, factor, &to[at]) ? STATUS_OK : STATUS_TOO_LARGE;
            continue;
        }
        if (!has_children(s, node, &left, &right) || feature >= e->features || end + 2 > s->nodes) {
            st = STATUS_INVALID;
            break;
        }
        to[at] = (struct tree_node){ .threshold = (float)yyjson_get_num(s->threshold[node]),
                                     .feature = (uint32_t)feature,
                                     .left = (uint32_t)(e->nodes_count + end),
                                     .right = (uint32_t)(e->nodes_count + end + 1),
                                     .missing_left = yyjson_get_int(s->missing_left[node]) != 0 };
        queue[end++] = left;
        queue[end++] = right;
    }
    e->nodes_count += end;
    free(queue);
    return st;
}

static enum status add_tree(struct ensemble *e, yyjson_val *tree, size_t first, float factor)
{
    struct source s;
    enum status st = STATUS_INVALID;
    if (open_source(tree, &s) && first + s.width <= e->sums) {
        st = s.nodes > ENSEMBLE_NODES_MAX - e->nodes_count ? STATUS_TOO_LARGE : STATUS_OK;
        if (!st) {
            e->nodes = mem_resize(e->nodes, (e->nodes_count + s.nodes) * sizeof *e->nodes);
            e->weights =
                mem_resize(e->weights, (e->weights_count + s.nodes * s.width) * sizeof *e->weights);
            e->trees[e->trees_count++] = (struct tree){ .root = (uint32_t)e->nodes_count,
                                                        .first = (uint32_t)first,
                                                        .width = (uint32_t)s.width };
            st = copy_nodes(e, &s, factor);
        }
    }
    finish_source(&s);
    return st;
}

static yyjson_val *path(yyjson_val *v, const char *const *names)
{
    while (*names)
        v = yyjson_obj_get(v, *names++);
    return v;
}

enum status ensemble_add_json(struct ensemble *e, struct bytes json, size_t first, float factor,
                              struct error *err)
{
    static const char *const where[] = { "learner", "gradient_booster", "model", "trees", NULL };
    /* Leaves with several weights have NaN for a threshold. */
    yyjson_doc *doc = yyjson_read(json.data, json.len, YYJSON_READ_ALLOW_INF_AND_NAN);
    yyjson_val *tree = yyjson_arr_get_first(path(yyjson_doc_get_root(doc), where));
    e->trees = mem_resize(e->trees, (e->trees_count + 1) * sizeof *e->trees);
    enum status st = tree ? add_tree(e, tree, first, factor) : STATUS_INVALID;
    yyjson_doc_free(doc);
    if (st == STATUS_TOO_LARGE)
        return error_set(err, st, "the trees have more than %u nodes: fewer, or lower ones",
                         ENSEMBLE_NODES_MAX);
    return st ? error_set(err, st, "XGBoost wrote its trees in a form that is not known here") : st;
}
