/* backup.h - what backup.c and restore.c share: the parts of the archive. */
#ifndef SERVICES_GATEWAY_API_BACKUP_H
#define SERVICES_GATEWAY_API_BACKUP_H

#include "services/gateway/api/api.h"

/* In this order: a file that says what this is, the pages of records, the chunks, the end. */
#define BACKUP_HEAD    "maas-backup"
#define BACKUP_FORMAT  "1\n"
#define BACKUP_RECORDS "records/" /* and a number: 1, 2, 3 ... */
#define BACKUP_CHUNK   "chunks/"  /* and its SHA-256 */
#define BACKUP_END     "end"

#define BACKUP_ID_SIZE 40
#define BACKUP_HOLD_MS 60000 /* the registry gives up what it has not heard of for ten minutes */

/* An id that nobody else has. */
void backup_make_id(char out[BACKUP_ID_SIZE]);

api_fn backup_restore; /* restore.c: POST /api/restore, streamed */

#endif
