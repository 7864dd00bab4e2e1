/* functions.h - the library of Redis functions (library.lua, functions.lua and what follows
 * it), carried inside the program.
 *
 * LIBRARY_VERSION goes up when a function's arguments or the keys in Redis change.  It is part of
 * each function's name in Redis: a registry with other functions than Redis has finds none.
 */
#ifndef SERVICES_REGISTRY_FUNCTIONS_H
#define SERVICES_REGISTRY_FUNCTIONS_H

#define LIBRARY_VERSION 6 /* digits alone: the assembler reads it too */

extern const char functions_lua[];
extern const char functions_lua_end[];

#endif
