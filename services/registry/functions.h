/* functions.h - the text of functions.lua, carried inside the program. */
#ifndef SERVICES_REGISTRY_FUNCTIONS_H
#define SERVICES_REGISTRY_FUNCTIONS_H

extern const char functions_lua[];
extern const char functions_lua_end[];

#endif
