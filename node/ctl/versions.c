/* SPDX-License-Identifier: Apache-2.0 */
/* See versions.h. */
#include "ctl/versions.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"

bool versions_conflict(const struct object *o)
{
    uint32_t files = 0, directories = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        files += sibling_live(&o->siblings[i]) && o->siblings[i].type != SIBLING_DIR;
        directories += o->siblings[i].type == SIBLING_DIR;
    }
    return files > 1 || (files == 1 && directories > 0);
}

const struct sibling *versions_live(const struct object *o, const struct dot *d)
{
    const struct sibling *s = object_find(o, d);
    return s != NULL && sibling_live(s) ? s : NULL;
}

const char *versions_type(const struct sibling *s)
{
    static const char *const names[] = {"delete", "file", "directory", "symlink"};
    return names[s->type];
}

static int by_age(const void *a, const void *b)
{
    const struct sibling *const *x = a, *const *y = b;
    return sibling_order(*y, *x);
}

const struct sibling **versions_sorted(const struct object *o, uint32_t *n)
{
    const struct sibling **list = mem_zalloc((o->n + 1) * sizeof(*list));
    *n = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        if (sibling_live(&o->siblings[i]))
            list[(*n)++] = &o->siblings[i];
    }
    qsort(list, *n, sizeof(*list), by_age);
    return list;
}

void versions_print(const struct object *o, const char *indent, struct buf *out)
{
    uint32_t n;
    const struct sibling **list = versions_sorted(o, &n);
    for (uint32_t i = 0; i < n; i++) {
        char dot[DOT_TEXT_MAX];
        dot_format(&list[i]->dot, dot);
        buf_printf(out, "%s%s  ", indent, dot);
        ctl_put_time(list[i]->time_ns, out);
        buf_printf(out, "  %10" PRIu64 "  %s\n", list[i]->size, versions_type(list[i]));
    }
    free(list);
}

void versions_note_conflict(struct slice key, const struct object *o)
{
    if (versions_conflict(o))
        fprintf(stderr, "dynactl: note: '%.*s' has %u versions side by side now\n", (int)key.len,
                (const char *)key.data, object_live_count(o));
}

void versions_add_one(struct json *j, const struct sibling *s)
{
    char dot[DOT_TEXT_MAX], mode[8];
    dot_format(&s->dot, dot);
    snprintf(mode, sizeof(mode), "%04o", s->attrs.mode & 07777);
    json_add_str(j, "dot", dot);
    json_add_str(j, "type", versions_type(s));
    json_add_u64(j, "size", s->size);
    json_add_u64(j, "time_ns", s->time_ns);
    json_add_str(j, "mode", mode);
    json_add_hex(j, "hash", slice_of(s->value_hash, DIGEST_LEN));
}

void versions_add_json(struct json *parent, const char *name, const struct object *o)
{
    uint32_t n;
    const struct sibling **list = versions_sorted(o, &n);
    struct json *array = json_add_array(parent, name);
    for (uint32_t i = 0; i < n; i++) {
        struct json *j = json_add_object(array, NULL);
        versions_add_one(j, list[i]);
        if (list[i]->manifest_len != 0)
            json_add_bool(j, "large", true); /* its bytes: get --sibling DOT */
        else if (list[i]->value != NULL || list[i]->size == 0) {
            struct buf text = BUF_EMPTY;
            if (list[i]->value != NULL)
                buf_put_base64url(&text, slice_of(list[i]->value->data, list[i]->value->len));
            buf_put_u8(&text, 0);
            json_add_str(j, "value_base64url", (const char *)text.data);
            buf_release(&text);
        }
    }
    free(list);
}
