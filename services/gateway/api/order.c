/* order.c - the body of POST /api/uploads/{id}/commit. */
#include "services/gateway/api/assemble.h"

#include <stdlib.h>

#define MAIN_FILE "model.onnx"

static enum status read_text(yyjson_val *object, const char *name, char *out, size_t size,
                             struct error *err)
{
    struct bytes text;
    enum status st = api_string(object, name, &text, err);
    if (!st && bytes_copy_str(text, out, size))
        st = error_set(err, STATUS_INVALID, "\"%s\" is too long", name);
    return st;
}

static enum status refuse_others(yyjson_val *object, const char *const *known, struct error *err)
{
    yyjson_val *key, *value;
    size_t i, max;
    yyjson_obj_foreach(object, i, max, key, value)
    {
        const char *const *k = known;
        while (*k && !yyjson_equals_str(key, *k))
            k++;
        if (!*k)
            return error_set(err, STATUS_INVALID, "\"%.64s\" is not known here",
                             yyjson_get_str(key));
    }
    return STATUS_OK;
}

/* What is said of every file: "sha256" and "size". */
static enum status read_contents(yyjson_val *object, struct wanted_file *f, struct error *err)
{
    yyjson_val *size = yyjson_obj_get(object, "size");
    struct digest digest;
    enum status st = read_text(object, "sha256", f->sha256, sizeof f->sha256, err);
    if (!st && f->sha256[0] && digest_parse(bytes_str(f->sha256), &digest))
        st = error_set(err, STATUS_INVALID, "\"sha256\" must be 64 hexadecimal digits");
    if (!st && size && (!yyjson_is_uint(size) || !yyjson_get_uint(size)))
        st = error_set(err, STATUS_INVALID, "\"size\" must be a number of bytes");
    f->size = size ? yyjson_get_uint(size) : 0;
    return st;
}

static enum status read_file(yyjson_val *object, struct order *o, struct error *err)
{
    static const char *const known[] = { "name", "upload", "sha256", "size", NULL };
    struct wanted_file *f = &o->files[o->count];
    if (!yyjson_is_obj(object))
        return error_set(err, STATUS_INVALID, "each of \"files\" must be an object");
    if (o->count == MAX_VERSION_FILES)
        return error_set(err, STATUS_INVALID, "a version has at most %d files", MAX_VERSION_FILES);
    enum status st = refuse_others(object, known, err);
    if (!st)
        st = read_text(object, "name", f->name, sizeof f->name, err);
    if (!st)
        st = name_check(bytes_str(f->name), "the name of a file", err);
    if (!st)
        st = read_text(object, "upload", f->upload, sizeof f->upload, err);
    if (!st)
        st = name_check(bytes_str(f->upload), "the id of an upload", err);
    if (!st)
        st = read_contents(object, f, err);
    for (size_t i = 0; i < o->count && !st; i++)
        if (strcmp(o->files[i].name, f->name) == 0 || strcmp(o->files[i].upload, f->upload) == 0)
            st = error_set(err, STATUS_INVALID, "two files have the name or the upload of '%s'",
                           f->name);
    o->count += !st;
    return st;
}

static enum status read_files(yyjson_val *body, struct order *o, struct error *err)
{
    yyjson_val *files = yyjson_obj_get(body, "files"), *file;
    size_t i, max;
    enum status st = STATUS_OK;
    if (files && !yyjson_is_arr(files))
        return error_set(err, STATUS_INVALID, "\"files\" must be a list");
    if (files && !o->files[0].name[0])
        memcpy(o->files[0].name, MAIN_FILE, sizeof MAIN_FILE);
    yyjson_arr_foreach(files, i, max, file) if (!st) st = read_file(file, o, err);
    return st;
}

static enum status read_tags(yyjson_val *body, struct order *o, struct error *err)
{
    yyjson_val *tags = yyjson_obj_get(body, "tags");
    size_t len = 0;
    if (!tags)
        return STATUS_OK;
    char *text = yyjson_is_obj(tags) ? yyjson_val_write(tags, 0, &len) : NULL;
    buf_append(&o->tags, text, text ? len : 0);
    free(text);
    if (!o->tags.len || o->tags.len > MAX_JSON)
        return error_set(err, STATUS_INVALID, "\"tags\" must be an object of at most %d bytes",
                         MAX_JSON);
    return STATUS_OK;
}

enum status order_read(yyjson_val *body, struct bytes upload, struct order *out, struct error *err)
{
    static const char *const known[] = { "model", "format", "sha256",      "size", "name",
                                         "files", "tags",   "description", NULL };
    struct wanted_file *f = &out->files[0];
    *out = (struct order){ .count = 1 };
    enum status st = refuse_others(body, known, err);
    if (!st && bytes_copy_str(upload, f->upload, sizeof f->upload))
        st = error_set(err, STATUS_INVALID, "the upload's id is too long");
    if (!st)
        st = read_text(body, "model", out->model, sizeof out->model, err);
    if (!st)
        st = name_check(bytes_str(out->model), "the model's name", err);
    if (!st)
        st = read_text(body, "format", out->format, sizeof out->format, err);
    if (!st && !out->format[0])
        memcpy(out->format, "onnx", sizeof "onnx");
    if (!st && strcmp(out->format, "onnx") != 0 && strcmp(out->format, "fake") != 0)
        st =
            error_set(err, STATUS_UNSUPPORTED, "the format '%s' is unknown; use onnx", out->format);
    if (!st)
        st = read_text(body, "name", f->name, sizeof f->name, err);
    if (!st && f->name[0])
        st = name_check(bytes_str(f->name), "the name of a file", err);
    if (!st)
        st = read_contents(body, f, err);
    if (!st && !f->sha256[0])
        st =
            error_set(err, STATUS_INVALID, "\"sha256\" must be said: it is what the commit checks");
    if (!st)
        st = read_files(body, out, err);
    if (!st)
        st = read_tags(body, out, err);
    if (!st)
        st = read_text(body, "description", out->description, sizeof out->description, err);
    return st;
}

void order_finish(struct order *o)
{
    buf_finish(&o->tags);
}
