/* functions.h - the library of Redis functions (functions.lua and what follows it), carried inside the
 * program. */
#ifndef SERVICES_REGISTRY_FUNCTIONS_H
#define SERVICES_REGISTRY_FUNCTIONS_H

extern const char functions_lua[];
extern const char functions_lua_end[];

#endif
