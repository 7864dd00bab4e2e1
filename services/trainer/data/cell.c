/* cell.c - see cell.h. */
#include "services/trainer/data/cell.h"

#include "services/trainer/data/number.h"
#include "services/trainer/data/text.h"

#define MISSING_MAX     4   /* bytes of the longest word for it */
#define BOOLEAN_MAX     5   /* the same of booleans */
#define DATE_MIN        8   /* "1/1/2024" */
#define DATE_MAX        35  /* "2024-03-01T10:00:00.123456789+02:00" */
#define MOSTLY_NUMBERS  0.9 /* of the cells that are not missing */
#define DATE_SEPARATORS 2

const char *const cell_missing_words[] = { "",    "NA",   "N/A",  "n/a",  "na", "NaN",
                                           "nan", "NULL", "null", "None", "?",  NULL };

const char *const cell_boolean_words[] = {
    "false", "true", "False", "True", "FALSE", "TRUE", "no", "yes", "No", "Yes", "NO",
    "YES",   "f",    "t",     "F",    "T",     "n",    "y",  "N",   "Y",  NULL
};

static int find(const char *const *words, struct bytes text)
{
    for (int i = 0; words[i]; i++)
        if (bytes_equal_str(text, words[i]))
            return i;
    return -1;
}

/* Reads up to `digits` digits. */
static const char *take_digits(const char *p, const char *end, int digits, uint64_t *out)
{
    *out = 0;
    for (; digits && p < end && *p >= '0' && *p <= '9'; p++, digits--)
        *out = *out * 10 + (uint64_t)(*p - '0');
    return p;
}

/* " 10:20:30.5+02:00" or less: the digits of hour, minute and second. */
static uint64_t clock_of(const char *p, const char *end)
{
    uint64_t part, all = 0;
    for (int i = 0; i < 3; i++) {
        if (p < end)
            p++; /* the separator */
        p = take_digits(p, end, 2, &part);
        all = all * 100 + part;
    }
    return all;
}

uint64_t cell_date(struct bytes text)
{
    const char *p = text.data, *end = p + text.len;
    uint64_t part[3];
    char between[DATE_SEPARATORS];
    if (text.len < DATE_MIN || text.len > DATE_MAX)
        return 0;
    for (int i = 0; i < 3; i++) {
        const char *from = p;
        p = take_digits(p, end, 4, &part[i]);
        if (p == from)
            return 0;
        if (i < DATE_SEPARATORS) {
            if (p == end || (*p != '-' && *p != '/' && *p != '.'))
                return 0;
            between[i] = *p++;
        }
    }
    if (between[0] != between[1] || (p < end && *p != 'T' && *p != ' '))
        return 0;
    uint64_t year = part[0], month = part[1], day = part[2];
    if (between[0] == '.' || year < 100) {
        year = part[2];
        month = between[0] == '/' ? part[0] : part[1];
        day = between[0] == '/' ? part[1] : part[0];
    }
    if (year < 1000 || month < 1 || month > 12 || day < 1 || day > 31)
        return 0;
    return ((year * 100 + month) * 100 + day) * 1000000 + clock_of(p, end);
}

enum cell_kind cell_read(struct bytes text, double *number)
{
    bool whole;
    if (!text.len)
        return CELL_MISSING;
    const char *p = text.data;
    if (*p <= '9') { /* digits, signs and the point are before the letters */
        if (number_read(p, text.len, number, &whole))
            return whole ? CELL_INTEGER : CELL_NUMBER;
        if (cell_date(text))
            return CELL_DATE;
    }
    if (text.len <= BOOLEAN_MAX) {
        int i = find(cell_boolean_words, text);
        *number = i & 1;
        if (i >= 0)
            return CELL_BOOLEAN;
        if (text.len <= MISSING_MAX && find(cell_missing_words, text) >= 0)
            return CELL_MISSING;
    }
    return text_is_utf8(text) ? CELL_WORD : CELL_BAD;
}

enum column_type guess_type(const struct guess *g)
{
    uint64_t numbers = g->count[CELL_INTEGER] + g->count[CELL_NUMBER];
    uint64_t others = g->count[CELL_BOOLEAN] + g->count[CELL_DATE] + g->count[CELL_WORD];
    if (numbers && (double)numbers >= MOSTLY_NUMBERS * (double)(numbers + others))
        return g->count[CELL_NUMBER] ? COLUMN_NUMBER : COLUMN_INTEGER;
    if (!numbers && others && g->count[CELL_BOOLEAN] == others)
        return COLUMN_BOOLEAN;
    if (!numbers && others && g->count[CELL_DATE] == others)
        return COLUMN_DATE;
    return COLUMN_CATEGORY;
}

const char *column_type_name(enum column_type type)
{
    static const char *const names[] = {
        "number", "integer", "boolean", "category", "text", "date"
    };
    return names[type];
}
