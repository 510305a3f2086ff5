/* SPDX-License-Identifier: Apache-2.0 */
/* See settings.h. Rows are sorted, so that what a directory says is one search, and what holds for
 * a key is one search for each directory above it. */
#include "model/settings.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/key.h"

void settings_release(struct settings *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        free(s->rows[i].dir);
    free(s->rows);
    *s = SETTINGS_EMPTY;
}

static struct slice dir_of(const struct setting_row *row)
{
    return slice_of(row->dir, row->dir_len);
}

/* Index of the first row not below (dir, setting). */
static uint32_t lower_bound(const struct settings *s, struct slice dir, uint8_t setting)
{
    uint32_t lo = 0, hi = s->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = slice_compare(dir_of(&s->rows[mid]), dir);
        if (c < 0 || (c == 0 && s->rows[mid].setting < setting))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct setting_row *find(const struct settings *s, struct slice dir, uint8_t setting)
{
    uint32_t i = lower_bound(s, dir, setting);
    if (i == s->n || s->rows[i].setting != setting || !slice_equal(dir_of(&s->rows[i]), dir))
        return NULL;
    return &s->rows[i];
}

static struct setting_row *obtain(struct settings *s, struct slice dir, uint8_t setting)
{
    struct setting_row *row = find(s, dir, setting);
    if (row != NULL)
        return row;
    if (s->n == SETTINGS_ROWS_MAX || s->bytes + dir.len > SETTINGS_BYTES_MAX)
        return NULL;
    uint32_t at = lower_bound(s, dir, setting);
    if (s->n == s->cap) {
        s->cap = s->cap == 0 ? 8 : s->cap * 2;
        s->rows = mem_reallocarray(s->rows, s->cap, sizeof(*s->rows));
    }
    memmove(&s->rows[at + 1], &s->rows[at], (s->n - at) * sizeof(*s->rows));
    s->rows[at] = (struct setting_row){
        .dir = mem_dup(dir.data, dir.len), .dir_len = (uint32_t)dir.len, .setting = setting};
    s->n++;
    s->bytes += (uint32_t)dir.len;
    return &s->rows[at];
}

static bool value_possible(enum dir_setting setting, uint8_t value)
{
    static const uint8_t greatest[SETTINGS_END] = {[SETTING_RECONCILE] = RECONCILE_UNION,
                                                   [SETTING_R] = 8,
                                                   [SETTING_W] = 8,
                                                   [SETTING_DURABILITY] = 3,
                                                   [SETTING_SLOPPY] = 2,
                                                   [SETTING_N] = 8};
    return setting >= 1 && setting < SETTINGS_END && value <= greatest[setting];
}

static bool dir_possible(struct slice dir)
{
    return dir.len == 0 || key_check(dir, NULL) == DYN_OK;
}

int settings_set(struct settings *s, struct slice dir, enum dir_setting setting, uint8_t value,
                 uint64_t now_ms, uint64_t node)
{
    if (!value_possible(setting, value) || !dir_possible(dir))
        return DYN_ERR_INVALID;
    struct setting_row *row = obtain(s, dir, (uint8_t)setting);
    if (row == NULL)
        return DYN_ERR_TOO_LARGE;
    row->stamp = now_ms > row->stamp ? now_ms : row->stamp + 1;
    row->node = node;
    row->value = value;
    return DYN_OK;
}

static bool is_later(const struct setting_row *a, const struct setting_row *than)
{
    if (a->stamp != than->stamp)
        return a->stamp > than->stamp;
    return a->node != than->node ? a->node > than->node : a->value > than->value;
}

bool settings_join(struct settings *into, const struct settings *other)
{
    bool changed = false;
    for (uint32_t i = 0; i < other->n; i++) {
        const struct setting_row *theirs = &other->rows[i];
        struct setting_row *mine = obtain(into, dir_of(theirs), theirs->setting);
        if (mine == NULL || !is_later(theirs, mine))
            continue;
        mine->stamp = theirs->stamp;
        mine->node = theirs->node;
        mine->value = theirs->value;
        changed = true;
    }
    return changed;
}

bool settings_copies(const struct settings *s, uint8_t out[DIGEST_LEN])
{
    struct buf bytes = BUF_EMPTY;
    bool some = false;
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->rows[i].setting != SETTING_N)
            continue;
        buf_put_bytes(&bytes, dir_of(&s->rows[i]));
        buf_put_u8(&bytes, s->rows[i].value);
        some = true;
    }
    digest_sha256(buf_slice(&bytes), out);
    buf_release(&bytes);
    return some;
}

uint8_t settings_growth(const struct settings *s, struct slice dir)
{
    const struct setting_row *row = find(s, dir, SETTING_GROWTH);
    return row == NULL ? 0 : row->value;
}

uint32_t settings_growths(const struct settings *s,
                          bool (*each)(void *arg, struct slice dir, uint8_t growth), void *arg)
{
    uint32_t n = 0;
    bool more = true;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct setting_row *row = &s->rows[i];
        if (row->setting != SETTING_GROWTH)
            continue;
        n++;
        more = more && each != NULL && each(arg, dir_of(row), row->value);
    }
    return n;
}

int settings_raise_growth(struct settings *s, struct slice dir, uint8_t growth)
{
    struct setting_row *row = find(s, dir, SETTING_GROWTH);
    if (!dir_possible(dir))
        return DYN_ERR_INVALID;
    if (row == NULL && settings_growths(s, NULL, NULL) >= GROWTHS_MAX)
        return DYN_ERR_TOO_LARGE;
    if (row == NULL)
        row = obtain(s, dir, SETTING_GROWTH);
    if (row == NULL)
        return DYN_ERR_TOO_LARGE;
    if (growth <= row->value)
        return DYN_OK;
    row->value = growth;
    row->stamp = growth;
    return DYN_OK;
}

static void take_rules(const struct settings *s, struct slice dir, struct rules *out)
{
    for (uint32_t i = lower_bound(s, dir, 0); i < s->n; i++) {
        const struct setting_row *row = &s->rows[i];
        if (!slice_equal(dir_of(row), dir))
            return;
        if (row->value == 0 || !value_possible(row->setting, row->value) ||
            out->value[row->setting] != 0)
            continue;
        out->value[row->setting] = row->value;
        out->from[row->setting] = dir_of(row);
    }
}

void settings_rules(const struct settings *s, struct slice key, struct rules *out)
{
    *out = (struct rules){0};
    for (struct slice dir = key; s->n > 0; dir = key_parent(dir)) {
        take_rules(s, dir, out); /* the nearest comes first, and what it says stays */
        if (dir.len == 0)
            return;
    }
}

/* ---- bytes ---- */

void settings_encode(const struct settings *s, struct buf *out)
{
    buf_put_varint(out, s->n);
    for (uint32_t i = 0; i < s->n; i++) {
        const struct setting_row *row = &s->rows[i];
        buf_put_bytes(out, dir_of(row));
        buf_put_u8(out, row->setting);
        buf_put_u8(out, row->value);
        buf_put_u64(out, row->stamp);
        buf_put_u64(out, row->node);
    }
}

/* A setting of a later version is kept, and means nothing here. */
void settings_decode(struct reader *r, struct settings *s)
{
    struct settings t = SETTINGS_EMPTY;
    uint64_t n = read_varint(r);
    if (n > SETTINGS_ROWS_MAX)
        reader_fail(r);
    for (uint64_t i = 0; i < n && reader_ok(r); i++) {
        struct slice dir = read_bytes(r);
        uint8_t setting = read_u8(r), value = read_u8(r);
        uint64_t stamp = read_u64(r), node = read_u64(r);
        if (!reader_ok(r))
            break;
        uint32_t before = t.n;
        struct setting_row *row =
            setting != 0 && dir_possible(dir) ? obtain(&t, dir, setting) : NULL;
        if (row == NULL || t.n == before || row != &t.rows[t.n - 1]) { /* twice, or in disorder */
            reader_fail(r);
            break;
        }
        row->value = value;
        row->stamp = stamp;
        row->node = node;
    }
    if (!reader_ok(r)) {
        settings_release(&t);
        return;
    }
    settings_release(s);
    *s = t;
}

void settings_digest(const struct settings *s, uint8_t out[DIGEST_LEN])
{
    struct buf bytes = BUF_EMPTY;
    settings_encode(s, &bytes);
    digest_sha256(buf_slice(&bytes), out);
    buf_release(&bytes);
}
