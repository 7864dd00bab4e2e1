/* tables.h - what schema.h says of each struct, as data.  Private to codec.c, which makes the tables,
 * and to clone.c.
 */
#ifndef COMMON_MSG_TABLES_H
#define COMMON_MSG_TABLES_H

#include <stddef.h>

enum field_type { T_u32, T_u64, T_i64, T_f64, T_boolean, T_str, T_bin, T_i64s, T_list };

struct schema_field {
    const char *name;
    const char *doc;
    enum field_type type;
    unsigned tag;
    size_t limit;
    size_t offset;
    size_t count_offset;                /* T_list */
    const struct schema_struct *nested; /* T_list */
};

struct schema_struct {
    const char *name;
    size_t size;
    const struct schema_field *fields;
    size_t count;
};

#endif
