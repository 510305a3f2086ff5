/* SPDX-License-Identifier: Apache-2.0 */
/* See admin.h. */
#include "ctl/admin.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define DEPTH 6
#define ONE_NODE_US 15000000u /* a commit waits for a majority */

uint64_t admin_number(const struct json *object, const char *name)
{
    uint64_t v;
    const struct json *j = object == NULL ? NULL : json_get(object, name);
    return j != NULL && json_u64(j, &v) ? v : 0;
}

const char *admin_text(const struct json *object, const char *name)
{
    const struct json *j = object == NULL ? NULL : json_get(object, name);
    const char *text = j == NULL ? NULL : json_str(j);
    return text == NULL ? "" : text;
}

int admin_ask_node(struct session *s, uint64_t node, const char *request, struct json **reply)
{
    struct buf out = BUF_EMPTY;
    int err = session_call(s, node, FRAME_ADMIN, slice_str(request), ONE_NODE_US, &out);
    if (err == DYN_OK && json_parse(buf_slice(&out), DEPTH, reply) != DYN_OK)
        err = DYN_ERR_PROTOCOL;
    buf_release(&out);
    return err;
}

static int status_of_code(const char *code)
{
    for (int err = DYN_ERR_INVALID; err >= DYN_ERR_BASE_LACKING; err--)
        if (strcmp(dyn_err_code(err), code) == 0)
            return err == DYN_ERR_REFUSED   ? CTL_CONFLICT
                   : err == DYN_ERR_INVALID ? CTL_ERROR
                                            : ctl_status_of(err);
    return CTL_ERROR;
}

int admin_ask(struct session *s, struct json *request, struct json **reply)
{
    struct ring *ring;
    struct buf text = BUF_EMPTY;
    int err = session_ring(s, &ring), status = CTL_UNAVAILABLE;
    json_print(request, false, &text);
    buf_put_u8(&text, 0);
    json_free(request);
    struct json *got = NULL;
    if (err == DYN_OK)
        err = DYN_ERR_UNREACHABLE;
    ring = err == DYN_ERR_UNREACHABLE && session_ring(s, &ring) == DYN_OK ? ring_ref(ring) : NULL;
    uint32_t n = ring != NULL ? ring_member_count(ring) : 0;
    for (uint32_t i = 0; i < 2 * n && got == NULL; i++) { /* those who were named first */
        const struct ring_member *m = ring_member_at(ring, i % n);
        if (session_names(s, m->address) != (i < n))
            continue;
        err = admin_ask_node(s, m->node, (const char *)text.data, &got);
        if (err == DYN_ERR_TIMEOUT)
            break; /* it may be at it */
    }
    ring_unref(ring);
    buf_release(&text);
    if (got == NULL)
        return ctl_fail(status, "no node of %s answers: %s", session_seeds(s),
                        dyn_err_message(err));
    if (json_get(got, "error") != NULL) {
        status = status_of_code(admin_text(got, "error"));
        ctl_fail(status, "%s", admin_text(got, "message"));
        json_free(got);
        return status;
    }
    *reply = got;
    return CTL_OK;
}

void admin_put_bytes(uint64_t bytes, struct buf *out)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double v = (double)bytes;
    unsigned u = 0;
    for (; v >= 1024 && u < 5; u++)
        v /= 1024;
    buf_printf(out, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
}

void admin_put_parts(const struct json *plan, struct buf *out)
{
    const struct json *parts = json_get(plan, "staged");
    for (const struct json *p = parts == NULL ? NULL : json_first(parts); p != NULL;
         p = json_next(p)) {
        buf_printf(out, "  %-8s %s", admin_text(p, "type"), admin_text(p, "node"));
        if (json_get(p, "replaces") != NULL)
            buf_printf(out, "  for %s", admin_text(p, "replaces"));
        if (json_get(p, "address") != NULL)
            buf_printf(out, "  %s", admin_text(p, "address"));
        if (json_get(p, "weight") != NULL)
            buf_printf(out, "  weight %" PRIu64, admin_number(p, "weight"));
        if (json_get(p, "zone") != NULL)
            buf_printf(out, "  zone %s", admin_text(p, "zone"));
        buf_put_u8(out, '\n');
    }
}

int admin_print_staged(struct ctl *c, const struct json *plan)
{
    struct buf text = BUF_EMPTY;
    const struct json *parts = json_get(plan, "staged");
    if (c->json) {
        json_print(plan, true, &text);
        buf_put_u8(&text, '\n');
        return ctl_print(&text);
    }
    if (parts == NULL || json_len(parts) == 0) {
        buf_put_str(&text, "nothing is staged\n");
        return ctl_print(&text);
    }
    buf_put_str(&text, "staged:\n");
    admin_put_parts(plan, &text);
    buf_put_str(&text, "'dynactl plan' shows what it would do, 'dynactl commit' does it\n");
    return ctl_print(&text);
}
