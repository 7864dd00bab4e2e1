/* runtime_onnx.c - ONNX models through ONNX Runtime's C API; the only file that knows it.
 *
 * The library is opened, not linked, so that a worker without it still starts.  A model that
 * names other files is refused before the library sees it (onnx_scan.h).  Tensors are not
 * copied on the way in, unless their memory is not aligned: ONNX Runtime works on the frame's.
 */
#include "services/worker/mapped.h"
#include "services/worker/onnx_scan.h"
#include "services/worker/runtime.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <onnxruntime/onnxruntime_c_api.h>
#include <stdlib.h>
#include <unistd.h>

#define COPY_MAX 65536 /* bytes; a larger output is lent to its frame instead of copied */

static const OrtApi *ort;

struct onnx_model {
    OrtEnv *env;
    OrtSession *session;
    OrtMemoryInfo *memory;
    OrtRunOptions *run;      /* of every run: through them it is interrupted */
    OrtAllocator *allocator; /* ONNX Runtime's default; not ours to release */
    struct signature *signature;
    char *names[2 * MAX_TENSORS];     /* inputs, then outputs; owned */
    int64_t *shapes[2 * MAX_TENSORS]; /* owned */
    const char *input_names[MAX_TENSORS];
    const char *output_names[MAX_TENSORS];
};

/* X(datatype, ONNX element type) */
#define ELEMENT_LIST(X)                                \
    X(DT_BOOL, ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL)     \
    X(DT_UINT8, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8)   \
    X(DT_UINT16, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16) \
    X(DT_UINT32, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32) \
    X(DT_UINT64, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64) \
    X(DT_INT8, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8)     \
    X(DT_INT16, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16)   \
    X(DT_INT32, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32)   \
    X(DT_INT64, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64)   \
    X(DT_FP16, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16)  \
    X(DT_FP32, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)    \
    X(DT_FP64, ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE)   \
    X(DT_BF16, ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16) \
    X(DT_BYTES, ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING)

static enum datatype type_from_onnx(ONNXTensorElementDataType t)
{
    switch (t) {
#define X(ours, theirs) \
    case theirs:        \
        return ours;
        ELEMENT_LIST(X)
#undef X
    default:
        return DT_NONE;
    }
}

static ONNXTensorElementDataType type_to_onnx(enum datatype t)
{
    switch (t) {
#define X(ours, theirs) \
    case ours:          \
        return theirs;
        ELEMENT_LIST(X)
#undef X
    default:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    }
}

/* OrtStatus ends here: it becomes a status and its text. */
static enum status convert(OrtStatus *status, struct error *err)
{
    if (!status)
        return STATUS_OK;
    OrtErrorCode code = ort->GetErrorCode(status);
    enum status st = STATUS_INTERNAL;
    if (code == ORT_INVALID_ARGUMENT || code == ORT_INVALID_GRAPH || code == ORT_INVALID_PROTOBUF)
        st = STATUS_INVALID;
    else if (code == ORT_NOT_IMPLEMENTED)
        st = STATUS_UNSUPPORTED;
    error_set(err, st, "%s", ort->GetErrorMessage(status));
    ort->ReleaseStatus(status);
    return st;
}

/* ---- opening the library ------------------------------------------------------------------ */

/* y = Identity(x), both FP32 scalars; ONNX IR version 8, operator set 17. */
static const unsigned char tiny_model[] = "\x08\x08\x42\x02\x10\x11\x3a\x2b"
                                          "\x0a\x10\x0a\x01x\x12\x01y\x22\x08Identity"
                                          "\x12\x01g"
                                          "\x5a\x09\x0a\x01x\x12\x04\x0a\x02\x08\x01"
                                          "\x62\x09\x0a\x01y\x12\x04\x0a\x02\x08\x01";

static enum status create_session(OrtEnv *env, struct bytes file, unsigned threads,
                                  const struct mapped_files *others, OrtSession **session,
                                  struct error *err)
{
    OrtSessionOptions *o = NULL;
    enum status st = convert(ort->CreateSessionOptions(&o), err);
    if (!st)
        st = convert(ort->SetIntraOpNumThreads(o, (int)threads), err);
    if (!st)
        st = convert(ort->SetInterOpNumThreads(o, 1), err);
    if (!st)
        st = convert(ort->AddSessionConfigEntry(o, "session.intra_op.allow_spinning", "0"), err);
    if (!st) /* the library's own format is not what onnx_scan has walked */
        st = convert(ort->AddSessionConfigEntry(o, "session.load_model_format", "ONNX"), err);
    if (!st && others && others->count)
        st = convert(ort->AddExternalInitializersFromFilesInMemory(
                         o, (const char **)(uintptr_t)others->names,
                         (char *const *)(uintptr_t)others->data, others->sizes, others->count),
                     err);
    if (!st)
        st = convert(ort->CreateSessionFromArray(env, file.data, file.len, o, session), err);
    if (o)
        ort->ReleaseSessionOptions(o);
    return st;
}

/* The first operator that is looked up fills the library's table of operators. */
static void fill_operator_table(OrtEnv *env)
{
    OrtSession *session = NULL;
    struct error ignored; /* a library that cannot do this says so again with the model */
    if (!create_session(env, bytes_of(tiny_model, sizeof tiny_model - 1), 1, NULL, &session,
                        &ignored))
        ort->ReleaseSession(session);
}

/* Debian's build prints some 2,000 lines "Schema error" to stderr, one part when its first
 * environment is made and one when its first operator is looked up.  Both happen here, with
 * stderr turned aside; what the model causes comes after. */
static enum status open_library(OrtEnv **env, struct error *err)
{
    int saved = dup(STDERR_FILENO);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0)
        dup2(null, STDERR_FILENO);
    void *library = dlopen("libonnxruntime.so.1.21", RTLD_NOW | RTLD_LOCAL);
    enum status st = STATUS_OK;
    if (!library)
        library = dlopen("libonnxruntime.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        library = dlopen("libonnxruntime.so", RTLD_NOW | RTLD_LOCAL);
    const OrtApiBase *(*base)(void) = NULL;
    if (library)
        *(void **)&base = dlsym(library, "OrtGetApiBase");
    ort = base ? base()->GetApi(ORT_API_VERSION) : NULL;
    if (!ort)
        st = error_set(err, STATUS_UNAVAILABLE, "ONNX Runtime %d is not installed on this worker",
                       ORT_API_VERSION);
    else
        st = convert(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "maas", env), err);
    if (!st)
        fill_operator_table(*env);
    if (saved >= 0)
        dup2(saved, STDERR_FILENO);
    close(null);
    close(saved);
    return st;
}

/* ---- signature ---------------------------------------------------------------------------- */

static enum status read_tensor_info(struct onnx_model *m, const OrtTypeInfo *info, size_t slot,
                                    struct msg_tensor *out, struct error *err)
{
    const OrtTensorTypeAndShapeInfo *tensor = NULL;
    ONNXTensorElementDataType type;
    size_t rank;
    enum status st = convert(ort->CastTypeInfoToTensorInfo(info, &tensor), err);
    if (st)
        return st;
    if (!tensor)
        return error_set(err, STATUS_UNSUPPORTED,
                         "'%s' is a sequence, map or optional; only tensors can be served",
                         m->names[slot]);
    st = convert(ort->GetTensorElementType(tensor, &type), err);
    if (!st)
        st = convert(ort->GetDimensionsCount(tensor, &rank), err);
    if (st)
        return st;
    out->datatype = type_from_onnx(type);
    if (out->datatype == DT_NONE || rank > MAX_RANK)
        return error_set(err, STATUS_UNSUPPORTED,
                         "'%s' has an element type or rank (%zu) that "
                         "cannot be served",
                         m->names[slot], rank);
    m->shapes[slot] = mem_zalloc(rank * sizeof(int64_t));
    out->shape = (struct i64s){ m->shapes[slot], rank };
    return convert(ort->GetDimensions(tensor, m->shapes[slot], rank), err);
}

static enum status read_name(struct onnx_model *m, bool input, size_t i, size_t slot,
                             struct msg_tensor *out, struct error *err)
{
    char *name = NULL;
    enum status st = convert(input ? ort->SessionGetInputName(m->session, i, m->allocator, &name)
                                   : ort->SessionGetOutputName(m->session, i, m->allocator, &name),
                             err);
    if (st)
        return st;
    m->names[slot] = mem_str(bytes_str(name));
    OrtStatus *ignored = ort->AllocatorFree(m->allocator, name);
    ort->ReleaseStatus(ignored);
    out->name = bytes_str(m->names[slot]);
    if (out->name.len > MAX_NAME)
        return error_set(err, STATUS_UNSUPPORTED, "an %s has a name of %zu bytes; %d are allowed",
                         input ? "input" : "output", out->name.len, MAX_NAME);
    return STATUS_OK;
}

static enum status read_side(struct onnx_model *m, bool input, struct msg_tensor *list,
                             size_t *count, struct error *err)
{
    size_t n = 0;
    enum status st = convert(input ? ort->SessionGetInputCount(m->session, &n)
                                   : ort->SessionGetOutputCount(m->session, &n),
                             err);
    if (!st && n > MAX_TENSORS)
        st = error_set(err, STATUS_UNSUPPORTED, "the model has %zu %s; at most %d can be served", n,
                       input ? "inputs" : "outputs", MAX_TENSORS);
    for (size_t i = 0; i < n && !st; i++) {
        OrtTypeInfo *info = NULL;
        size_t slot = input ? i : MAX_TENSORS + i;
        st = read_name(m, input, i, slot, &list[i], err);
        if (!st)
            st = convert(input ? ort->SessionGetInputTypeInfo(m->session, i, &info)
                               : ort->SessionGetOutputTypeInfo(m->session, i, &info),
                         err);
        if (!st)
            st = read_tensor_info(m, info, slot, &list[i], err);
        if (info)
            ort->ReleaseTypeInfo(info);
        (input ? m->input_names : m->output_names)[i] = m->names[slot];
        *count = i + 1;
    }
    return st;
}

static bool first_is_free(const struct msg_tensor *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].shape.count == 0 || list[i].shape.at[0] != -1)
            return false;
    return count > 0;
}

/* ---- load and unload ---------------------------------------------------------------------- */

static void unload(void *model)
{
    struct onnx_model *m = model;
    if (m->session)
        ort->ReleaseSession(m->session);
    if (m->memory)
        ort->ReleaseMemoryInfo(m->memory);
    if (m->run)
        ort->ReleaseRunOptions(m->run);
    if (m->env)
        ort->ReleaseEnv(m->env);
    for (size_t i = 0; i < 2 * MAX_TENSORS; i++) {
        free(m->names[i]);
        free(m->shapes[i]);
    }
    free(m);
}

static enum status load_mapped(struct onnx_model *m, struct bytes file, unsigned threads,
                               const struct mapped_files *others, struct signature *s,
                               struct error *err)
{
    enum status st = onnx_scan(file, others->names, others->sizes, others->count, err);
    if (!st)
        st = open_library(&m->env, err);
    if (!st)
        st = create_session(m->env, file, threads, others, &m->session, err);
    if (!st)
        st = convert(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &m->memory),
                     err);
    if (!st)
        st = convert(ort->CreateRunOptions(&m->run), err);
    if (!st)
        st = convert(ort->GetAllocatorWithDefaultOptions(&m->allocator), err);
    if (!st)
        st = read_side(m, true, s->inputs, &s->inputs_count, err);
    if (!st)
        st = read_side(m, false, s->outputs, &s->outputs_count, err);
    s->batchable = !st && first_is_free(s->inputs, s->inputs_count) &&
                   first_is_free(s->outputs, s->outputs_count);
    return st;
}

static enum status load(const char *path, const struct runtime_options *options, void **model,
                        struct signature *s, struct error *err)
{
    struct bytes file = { 0 };
    struct mapped_files others = { .count = 0 };
    struct onnx_model *m = mem_zalloc(sizeof *m);
    m->signature = s;
    enum status st = mapped_open(path, &file, err);
    if (!st)
        st = mapped_open_all(options->files, options->files_count, &others, err);
    if (!st)
        st = load_mapped(m, file, options->threads, &others, s, err);
    mapped_close(file); /* the library has copied what it needs */
    mapped_close_all(&others);
    if (st)
        unload(m);
    else
        *model = m;
    return st;
}

/* ---- strings ------------------------------------------------------------------------------ */

/* Fills a string tensor from length-prefixed elements (tensor_check has walked them).  By
 * buffer, for a string may hold NULs. */
static enum status fill_strings(OrtValue *value, struct bytes data, size_t count, struct error *err)
{
    const unsigned char *p = data.data;
    enum status st = STATUS_OK;
    for (size_t i = 0; i < count && !st; i++) {
        uint32_t len;
        char *text = NULL;
        memcpy(&len, p, sizeof len);
        st = convert(ort->GetResizedStringTensorElementBuffer(value, i, len, &text), err);
        if (!st && len)
            memcpy(text, p + sizeof len, len);
        p += sizeof len + len;
    }
    return st;
}

static enum status take_strings(OrtValue *value, size_t count, struct tensor_out *out,
                                struct error *err)
{
    struct buf data = { 0 };
    enum status st = STATUS_OK;
    for (size_t i = 0; i < count && !st; i++) {
        size_t len = 0;
        st = convert(ort->GetStringTensorElementLength(value, i, &len), err);
        uint32_t prefix = (uint32_t)len;
        if (!st && data.len + sizeof prefix + len > MAX_TENSOR_BYTES)
            st = error_set(err, STATUS_TOO_LARGE, "an output has more than %llu bytes of strings",
                           MAX_TENSOR_BYTES);
        if (st)
            break;
        buf_append(&data, &prefix, sizeof prefix);
        buf_reserve(&data, len + 1);
        st = convert(ort->GetStringTensorElement(value, len, i, data.data + data.len), err);
        data.len += len;
    }
    if (st)
        buf_finish(&data);
    else
        frame_init_buf(&out->data, &data);
    return st;
}

/* ---- run ---------------------------------------------------------------------------------- */

/* A frame of less than 8 KiB may lie anywhere in ZeroMQ's buffer; compilers assume that a
 * number lies at a multiple of its size. */
static enum status copy_input(struct onnx_model *m, const struct tensor_in *in, OrtValue **value,
                              struct error *err)
{
    void *data = NULL;
    enum status st = convert(ort->CreateTensorAsOrtValue(m->allocator, in->shape, in->rank,
                                                         type_to_onnx(in->type), value),
                             err);
    if (!st)
        st = convert(ort->GetTensorMutableData(*value, &data), err);
    if (!st)
        memcpy(data, in->data.data, in->data.len);
    return st;
}

static enum status make_input(struct onnx_model *m, const struct tensor_in *in, OrtValue **value,
                              struct error *err)
{
    uint64_t elements;
    if (in->type != DT_BYTES && (uintptr_t)in->data.data % datatype_size(in->type) != 0)
        return copy_input(m, in, value, err);
    if (in->type != DT_BYTES)
        return convert(ort->CreateTensorWithDataAsOrtValue(
                           m->memory, (void *)(uintptr_t)in->data.data, in->data.len, in->shape,
                           in->rank, type_to_onnx(in->type), value),
                       err);
    enum status st =
        convert(ort->CreateTensorAsOrtValue(m->allocator, in->shape, in->rank,
                                            ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, value),
                err);
    if (!st && shape_elements(in->shape, in->rank, &elements))
        st = error_set(err, STATUS_INVALID, "bad shape");
    return st ? st : fill_strings(*value, in->data, (size_t)elements, err);
}

static void release_value(void *data, void *hint) /* any thread */
{
    (void)data;
    ort->ReleaseValue(hint);
}

/* Takes the value: it is released here, or by the frame that borrows its memory. */
static enum status take_output(OrtValue *value, struct tensor_out *out, struct error *err)
{
    OrtTensorTypeAndShapeInfo *info = NULL;
    ONNXTensorElementDataType type;
    size_t count = 0;
    void *data = NULL;
    enum status st = convert(ort->GetTensorTypeAndShape(value, &info), err);
    if (!st)
        st = convert(ort->GetTensorElementType(info, &type), err);
    if (!st)
        st = convert(ort->GetDimensionsCount(info, &out->rank), err);
    if (!st && out->rank > MAX_RANK)
        st = error_set(err, STATUS_UNSUPPORTED, "an output has %zu dimensions", out->rank);
    if (!st)
        st = convert(ort->GetDimensions(info, out->shape, out->rank), err);
    if (!st)
        st = convert(ort->GetTensorShapeElementCount(info, &count), err);
    if (info)
        ort->ReleaseTensorTypeAndShapeInfo(info);
    if (!st) {
        out->type = type_from_onnx(type);
        if (out->type == DT_BYTES)
            st = take_strings(value, count, out, err);
        else
            st = convert(ort->GetTensorMutableData(value, &data), err);
    }
    size_t len = count * datatype_size(out->type);
    if (!st && len > MAX_TENSOR_BYTES)
        st = error_set(err, STATUS_TOO_LARGE, "an output has %zu bytes; %llu are allowed", len,
                       MAX_TENSOR_BYTES);
    if (!st && out->type != DT_BYTES && len > COPY_MAX) {
        frame_init_take(&out->data, data, len, release_value, value);
        return STATUS_OK;
    }
    if (!st && out->type != DT_BYTES)
        frame_init_copy(&out->data, bytes_of(data, len));
    ort->ReleaseValue(value);
    return st;
}

static enum status run(void *model, const struct tensor_in *inputs, size_t inputs_count,
                       struct tensor_out *outputs, size_t *count, struct error *err)
{
    struct onnx_model *m = model;
    OrtValue *in[MAX_TENSORS] = { NULL };
    OrtValue *out[MAX_TENSORS] = { NULL };
    size_t total = m->signature->outputs_count;
    enum status st = STATUS_OK;
    for (size_t i = 0; i < inputs_count && !st; i++)
        st = make_input(m, &inputs[i], &in[i], err);
    if (!st)
        st = convert(ort->Run(m->session, m->run, m->input_names, (const OrtValue *const *)in,
                              inputs_count, m->output_names, total, out),
                     err);
    for (size_t i = 0; i < inputs_count; i++)
        if (in[i])
            ort->ReleaseValue(in[i]);
    *count = 0;
    for (size_t i = 0; i < total && out[i]; i++) {
        if (st)
            ort->ReleaseValue(out[i]);
        else if (!(st = take_output(out[i], &outputs[i], err)))
            *count = i + 1;
    }
    if (st)
        while (*count)
            frame_finish(&outputs[--*count].data);
    return st;
}

static void interrupt(void *model, bool on)
{
    const struct onnx_model *m = model;
    struct error ignored; /* setting a flag does not fail */
    (void)convert(on ? ort->RunOptionsSetTerminate(m->run) : ort->RunOptionsUnsetTerminate(m->run),
                  &ignored);
}

const struct runtime runtime_onnx = {
    .format = "onnx",
    .threaded = true,
    .load = load,
    .run = run,
    .interrupt = interrupt,
    .unload = unload,
};
