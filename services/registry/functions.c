/* functions.c - the Lua files as bytes, one after the other: they are one library.  The paths are
 * relative to the root of the tree. */
#include "services/registry/functions.h"

#define TEXT(macro)   TEXT_OF(macro)
#define TEXT_OF(text) #text

__asm__(".section .rodata\n"
        ".global functions_lua\n"
        "functions_lua:\n"
        ".ascii \"#!lua name=maas\\nlocal VERSION = '" TEXT(
            LIBRARY_VERSION) "'\\n\"\n"
                             ".incbin \"services/registry/library.lua\"\n"
                             ".incbin \"services/registry/functions.lua\"\n"
                             ".incbin \"services/registry/artifacts.lua\"\n"
                             ".incbin \"services/registry/backup.lua\"\n"
                             ".incbin \"services/registry/deployments.lua\"\n"
                             ".incbin \"services/registry/rollouts.lua\"\n"
                             ".incbin \"services/registry/versions.lua\"\n"
                             ".incbin \"services/registry/layout.lua\"\n"
                             ".incbin \"services/registry/datasets.lua\"\n"
                             ".incbin \"services/registry/jobs.lua\"\n"
                             ".global functions_lua_end\n"
                             "functions_lua_end:\n"
                             ".byte 0\n"
                             ".previous\n");
