/* lineage.c - where a model comes from: in its version's record, and in short in its file. */
#include "common/msg/dataset.h"
#include "services/trainer/json.h"
#include "services/trainer/run.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#define REPORT_MAX (MAX_JSON / 2) /* bytes; of tables with more columns the report is left out */

static const struct param share_rows[] = {
    { "validation", PARAM_REAL, offsetof(struct split_shares, validation), 0, 0.9, 0, NULL },
    { "test", PARAM_REAL, offsetof(struct split_shares, test), 0.01, 0.9, 0, NULL },
};

void run_param_sets(struct run *r, struct param_set sets[RUN_PARAM_SETS])
{
    sets[0] = (struct param_set){ r->learner->params, r->learner->params_count, r->params };
    sets[1] = (struct param_set){ share_rows, sizeof share_rows / sizeof *share_rows, &r->shares };
    data_param_sets(&r->data_params, sets + 2);
}

void run_dataset_digest(const struct run *r, struct digest *out)
{
    struct msg_file files[RUN_FILES_MAX];
    for (size_t i = 0; i < r->files_count; i++)
        files[i] = (struct msg_file){ .name = bytes_str(r->files[i].name),
                                      .digest = bytes_of(r->files[i].digest.byte, DIGEST_SIZE) };
    dataset_digest(files, r->files_count, out);
}

/* ---- the version's record ------------------------------------------------------------------------ */

static void add_digest(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key,
                       const struct digest *d)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    yyjson_mut_obj_add(object, yyjson_mut_strcpy(doc, key), yyjson_mut_strcpy(doc, hex));
}

static void add_data(const struct run *r, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
    struct digest all;
    run_dataset_digest(r, &all);
    yyjson_mut_obj_add_str(doc, root, "dataset", r->dataset);
    add_digest(doc, root, "dataset_digest", &all);
    yyjson_mut_val *files = yyjson_mut_obj_add_obj(doc, root, "files");
    for (size_t i = 0; i < r->files_count; i++)
        add_digest(doc, files, r->files[i].name, &r->files[i].digest);
    if (r->target[0])
        yyjson_mut_obj_add_str(doc, root, "target", r->target);
    yyjson_mut_val *rows = yyjson_mut_obj_add_obj(doc, root, "rows");
    yyjson_mut_obj_add_uint(doc, rows, "train", r->split.train);
    yyjson_mut_obj_add_uint(doc, rows, "validation", r->split.validation);
    yyjson_mut_obj_add_uint(doc, rows, "test", r->split.test);
    if (r->data_report.len && r->data_report.len <= REPORT_MAX)
        yyjson_mut_obj_add_val(
            doc, root, "data",
            yyjson_mut_rawn(doc, (const char *)r->data_report.data, r->data_report.len));
}

/* The parameters as they were used; a test set of its own makes the share of no use. */
static void add_params(const struct run *r, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
    struct run view = { .learner = r->learner,
                        .params = r->params,
                        .shares = r->shares,
                        .data_params = r->data_params };
    struct param_set sets[RUN_PARAM_SETS];
    yyjson_mut_val *params = yyjson_mut_obj_add_obj(doc, root, "params");
    run_param_sets(&view, sets);
    params_put(sets, RUN_PARAM_SETS, doc, params);
    if (r->shares.test <= 0)
        yyjson_mut_obj_remove_key(params, "test");
}

void run_lineage(const struct run *r, const char *job, struct buf *out)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    if (job)
        yyjson_mut_obj_add_str(doc, root, "training", job);
    add_data(r, doc, root);
    yyjson_mut_obj_add_str(doc, root, "learner", r->learner->name);
    yyjson_mut_obj_add_uint(doc, root, "seed", r->seed);
    add_params(r, doc, root);
    if (r->report.len)
        yyjson_mut_obj_add_val(doc, root, "search",
                               yyjson_mut_rawn(doc, (const char *)r->report.data, r->report.len));
    if (job)
        yyjson_mut_obj_add_real(doc, root, "seconds", round(r->seconds * 1000) / 1000);
    json_append(doc, out);
}

/* ---- the model's file ---------------------------------------------------------------------------- */

static char *classes_json(const struct table *t)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    yyjson_mut_doc_set_root(doc, list);
    for (size_t i = 0; i < t->classes_count; i++)
        yyjson_mut_arr_add_str(doc, list, t->classes[i]);
    char *text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, NULL);
    yyjson_mut_doc_free(doc);
    return text;
}

void run_export(struct run *r, const void *model, struct data *d)
{
    const struct table *t = &d->train;
    struct onnx_graph *graph = onnx_graph_create();
    const char *output = t->outputs ? ONNX_VALUES : ONNX_PROBABILITIES;
    char *classes = classes_json(t), seed[24], hex[DIGEST_HEX_SIZE];
    struct digest digest;
    snprintf(seed, sizeof seed, "%" PRIu64, r->seed);
    run_dataset_digest(r, &digest);
    digest_hex(&digest, hex);
    const struct onnx_about about = { .name = r->learner->name,
                                      .description = r->description,
                                      .notes = { { "classes", classes },
                                                 { "learner", r->learner->name },
                                                 { "seed", seed },
                                                 { "dataset", r->dataset },
                                                 { "dataset_digest", hex } },
                                      .notes_count = 5 };
    const char *input = data_export(d, graph);
    onnx_graph_output(graph, output, ONNX_FLOAT, table_width(t));
    r->learner->export(model, graph, input, output);
    onnx_graph_write(graph, &about, &r->onnx);
    onnx_graph_destroy(graph);
    free(classes);
}
