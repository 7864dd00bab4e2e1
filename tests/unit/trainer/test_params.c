/* test_params.c - parameters: defaults, limits, and what is said about bad ones. */
#include "services/trainer/learners/descent.h"
#include "services/trainer/run.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <yyjson.h>

static struct run r;
static struct descent_params p;
static struct error err;

static enum status parse(const char *json)
{
    struct param_set sets[RUN_PARAM_SETS];
    learner_mlp.defaults(&p, &(struct table){ 0 });
    r = (struct run){ .learner = &learner_mlp,
                      .params = &p,
                      .shares = { .test = 0.2 },
                      .data_params = data_defaults };
    run_param_sets(&r, sets);
    return params_parse(bytes_str(json), sets, RUN_PARAM_SETS, &err);
}

Test(params, defaults_are_within_the_limits)
{
    for (int images = 0; images < 2; images++) {
        learner_mlp.defaults(&p, &(struct table){ .image = { images, 28, 28 } });
        cr_assert(p.hidden_count >= 1 && p.hidden_count <= MAX_HIDDEN);
        for (size_t i = 0; i < p.hidden_count; i++)
            cr_assert(p.hidden[i] >= 1 && p.hidden[i] <= MAX_HIDDEN_UNITS);
        cr_assert(p.epochs >= 1 && p.epochs <= MAX_EPOCHS);
        cr_assert(p.batch >= 1 && p.batch <= MAX_BATCH);
        cr_assert(p.lr > 0 && p.lr < 1);
        cr_assert(p.momentum >= 0 && p.momentum < 1);
    }
}

Test(params, nothing_given_changes_nothing)
{
    struct descent_params before;
    learner_mlp.defaults(&before, &(struct table){ 0 });
    cr_assert_eq(parse(""), STATUS_OK);
    cr_assert_arr_eq(&p, &before, sizeof p);
    cr_assert_eq(parse("{}"), STATUS_OK);
    cr_assert_arr_eq(&p, &before, sizeof p);
}

Test(params, takes_each)
{
    cr_assert_eq(parse("{\"hidden\":[64,32,16],\"epochs\":50,\"batch\":32,\"lr\":0.125,"
                       "\"lr_decay\":0.5,\"momentum\":0.75,\"weight_decay\":0.25,"
                       "\"validation\":0.375,\"test\":0.5,\"patience\":7}"),
                 STATUS_OK, "%s", err.text);
    cr_assert_eq(p.hidden_count, 3);
    cr_assert_arr_eq(p.hidden, ((uint32_t[]){ 64, 32, 16 }), 3 * sizeof *p.hidden);
    cr_assert_eq(p.epochs, 50);
    cr_assert_eq(p.batch, 32);
    cr_assert_eq(p.patience, 7);
    cr_assert_eq(p.lr, 0.125);
    cr_assert_eq(p.lr_decay, 0.5);
    cr_assert_eq(p.momentum, 0.75);
    cr_assert_eq(p.weight_decay, 0.25);
    cr_assert_eq(r.shares.validation, 0.375);
    cr_assert_eq(r.shares.test, 0.5);
}

Test(params, no_hidden_layer_is_softmax_regression)
{
    cr_assert_eq(parse("{\"hidden\":[]}"), STATUS_OK);
    cr_assert_eq(p.hidden_count, 0);
}

Test(params, integers_do_for_numbers)
{
    cr_assert_eq(parse("{\"lr\":1,\"momentum\":0,\"weight_decay\":0}"), STATUS_OK);
    cr_assert_eq(p.lr, 1.0);
    cr_assert_eq(p.momentum, 0.0);
}

Test(params, the_limits_themselves_are_allowed)
{
    cr_assert_eq(parse("{\"epochs\":1,\"batch\":1,\"patience\":0,\"validation\":0}"), STATUS_OK);
    cr_assert_eq(parse("{\"epochs\":100000,\"batch\":65536,\"lr\":100}"), STATUS_OK);
    cr_assert_eq(parse("{\"hidden\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,16384]}"), STATUS_OK);
}

struct bad {
    char json[96];
    char says[48];
};

ParameterizedTestParameters(params, is_refused_with_a_reason)
{
    static struct bad rows[] = {
        { "[]", "object" },
        { "3", "object" },
        { "null", "object" },
        { "{", "" },
        { "{\"learning_rate\":0.1}", "no parameter \"learning_rate\"" },
        { "{\"learning_rate\":0.1}", "hidden, epochs, batch, lr" },
        { "{\"\":1}", "no parameter \"\"" },
        { "{\"epochs\":0}", "\"epochs\" must be an integer from 1" },
        { "{\"epochs\":100001}", "100000" },
        { "{\"epochs\":-1}", "\"epochs\"" },
        { "{\"epochs\":1.5}", "\"epochs\" must be an integer" },
        { "{\"epochs\":\"10\"}", "\"epochs\" must be an integer" },
        { "{\"epochs\":4294967297}", "\"epochs\"" },
        { "{\"epochs\":18446744073709551615}", "\"epochs\"" },
        { "{\"epochs\":null}", "\"epochs\"" },
        { "{\"epochs\":true}", "\"epochs\"" },
        { "{\"batch\":0}", "\"batch\"" },
        { "{\"batch\":65537}", "\"batch\"" },
        { "{\"lr\":0}", "\"lr\" must be a number" },
        { "{\"lr\":-0.1}", "\"lr\"" },
        { "{\"lr\":101}", "\"lr\"" },
        { "{\"lr\":\"fast\"}", "\"lr\"" },
        { "{\"lr\":[0.1]}", "\"lr\"" },
        { "{\"momentum\":1}", "\"momentum\"" },
        { "{\"momentum\":-0.1}", "\"momentum\"" },
        { "{\"weight_decay\":2}", "\"weight_decay\"" },
        { "{\"validation\":1}", "\"validation\"" },
        { "{\"test\":0}", "\"test\"" },
        { "{\"hidden\":64}", "\"hidden\"" },
        { "{\"hidden\":[64,0]}", "hidden[1]" },
        { "{\"hidden\":[16385]}", "hidden[0]" },
        { "{\"hidden\":[64.5]}", "hidden[0]" },
        { "{\"hidden\":[-1]}", "hidden[0]" },
        { "{\"hidden\":[[64]]}", "hidden[0]" },
        { "{\"hidden\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}", "at most 16" },
    };
    return cr_make_param_array(struct bad, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct bad *bad, params, is_refused_with_a_reason)
{
    cr_assert_eq(parse(bad->json), STATUS_INVALID);
    cr_assert_eq(err.status, STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, bad->says), "\"%s\" does not say \"%s\"", err.text,
                       bad->says);
}

Test(params, all_are_shown_with_their_values)
{
    struct param_set sets[RUN_PARAM_SETS];
    cr_assert_eq(
        parse(
            "{\"hidden\":[3,2],\"lr\":0.5,\"test\":0.25,"
            "\"task\":\"auto\",\"on_bad_row\":\"fail\",\"delimiter\":\"\",\"split\":\"stratified\","
            "\"group\":\"\",\"order\":\"\",\"impute\":\"mean\",\"impute_constant\":0.0,"
            "\"indicator\":true,\"scale\":\"standard\",\"clip_share\":0.01,"
            "\"max_categories\":64,\"input\":\"columns\",\"drop\":\"\",\"keep\":\"\"}"),
        STATUS_OK);
    run_param_sets(&r, sets);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *object = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, object);
    params_put(sets, RUN_PARAM_SETS, doc, object);
    char *text = yyjson_mut_write(doc, 0, NULL);
    cr_assert_str_eq(
        text,
        "{\"hidden\":[3,2],\"epochs\":60,\"batch\":16,\"lr\":0.5,"
        "\"lr_decay\":1.0,\"momentum\":0.9,\"weight_decay\":0.0001,"
        "\"patience\":15,\"schedule\":\"step\","
        "\"lr_step\":1,\"warmup\":0,\"beta1\":0.9,\"beta2\":0.999,\"l1\":0.0,"
        "\"clip_norm\":0.0,\"optimizer\":\"momentum\",\"activation\":\"relu\",\"dropout\":0.0,"
        "\"loss\":\"auto\",\"huber\":1.0,\"balanced\":false,"
        "\"validation\":0.0,\"test\":0.25,"
        "\"task\":\"auto\",\"on_bad_row\":\"fail\",\"delimiter\":\"\",\"split\":\"stratified\","
        "\"group\":\"\",\"order\":\"\",\"impute\":\"mean\",\"impute_constant\":0.0,"
        "\"indicator\":true,\"scale\":\"standard\",\"clip_share\":0.01,"
        "\"max_categories\":64,\"input\":\"columns\",\"drop\":\"\",\"keep\":\"\"}");
    free(text);
    yyjson_mut_doc_free(doc);
}

Test(params, those_of_the_data)
{
    cr_assert_eq(parse("{\"task\":\"regression\",\"on_bad_row\":\"drop\",\"delimiter\":\"\\t\","
                       "\"scale\":\"clip\",\"drop\":\"id,when\",\"indicator\":false}"),
                 STATUS_OK, "%s", err.text);
    cr_assert_eq(r.data_params.task, TASK_VALUES);
    cr_assert_eq(r.data_params.on_bad_row, 1);
    cr_assert_str_eq(r.data_params.delimiter, "\t");
    cr_assert_eq(r.data_params.prep.scale, SCALE_CLIP);
    cr_assert_str_eq(r.data_params.prep.drop, "id,when");
    cr_assert_not(r.data_params.prep.indicator);
    cr_assert_eq(parse("{\"delimiter\":\"ab\"}"), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "\"delimiter\" must be a text of at most 1 bytes"));
    cr_assert_eq(parse("{\"drop\":1}"), STATUS_INVALID);
}
