/* SPDX-License-Identifier: Apache-2.0 */
/* See survey.h. */
#include "ctl/survey.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

#define STATUS_DEPTH 16

int survey_open(struct ctl *c, struct session **s, struct ring **ring)
{
    int status = CTL_OK;
    if (session_open(c, s, &status) != DYN_OK)
        return status;
    int err = session_ring(*s, ring);
    if (err == DYN_OK)
        return CTL_OK;
    status = ctl_fail(CTL_UNAVAILABLE, "no answer from %s: %s: are the nodes running?",
                      session_seeds(*s), dyn_err_message(err));
    session_close(*s);
    *s = NULL;
    return status;
}

const struct ring_member *survey_member(const struct ring *ring, uint32_t i)
{
    uint32_t members = ring_member_count(ring);
    return i < members ? ring_member_at(ring, i) : ring_former_at(ring, i - members);
}

void survey_take(struct survey *v, struct session *s, struct ring *ring)
{
    v->ring = ring_ref(ring);
    v->n = ring_member_count(ring) + ring_former_count(ring);
    v->nodes = mem_zalloc(v->n * sizeof(*v->nodes));
    v->texts = mem_zalloc(v->n * sizeof(*v->texts));
    v->errs = mem_zalloc(v->n * sizeof(*v->errs));
    v->told = mem_zalloc(v->n * sizeof(struct json *));
    for (uint32_t i = 0; i < v->n; i++)
        v->nodes[i] = survey_member(ring, i)->node;
    session_statuses(s, v->nodes, v->n, v->texts, v->errs);
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->errs[i] == DYN_OK &&
            json_parse(buf_slice(&v->texts[i]), STATUS_DEPTH, &v->told[i]) != DYN_OK)
            v->errs[i] = DYN_ERR_PROTOCOL;
    }
}

void survey_release(struct survey *v)
{
    for (uint32_t i = 0; i < v->n; i++) {
        buf_release(&v->texts[i]);
        json_free(v->told[i]);
    }
    ring_unref(v->ring);
    free(v->nodes);
    free(v->texts);
    free(v->errs);
    free(v->told);
}

uint64_t survey_number(const struct json *object, const char *name)
{
    uint64_t v;
    const struct json *j = object == NULL ? NULL : json_get(object, name);
    return j != NULL && json_u64(j, &v) ? v : 0;
}
