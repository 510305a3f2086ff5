/* SPDX-License-Identifier: Apache-2.0 */
/* The lease of an upload under way (E8): said before the first chunk, renewed; when it ended all
 * the same, no manifest names what is gone. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "fake_kv.h"
#include "model/chunk_lease.h"
#include "unit.h"

#define MINUTE 60000000ull

struct sender {
    struct fake_kv k;
    struct chunk_io io;
    struct upload_lease lease;
    struct manifest m;
    struct chunk_put put;
    uint32_t told;
    int err, put_err;
};

static void on_lease(struct upload_lease *l, int err)
{
    struct sender *s = l->arg;
    s->told++;
    if (err != DYN_OK)
        s->err = err;
}

static int set_up(void **state)
{
    struct sender *s = mem_new(struct sender);
    fake_kv_init(&s->k);
    s->io = (struct chunk_io){.kv = fake_kv_port(&s->k),
                              .time = fake_kv_time(&s->k),
                              .random = fake_kv_random(&s->k),
                              .writer = 7};
    s->m = MANIFEST_EMPTY;
    upload_lease_init(&s->lease, &s->io, slice_str("big"), on_lease, s);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct sender *s = *state;
    upload_lease_stop(&s->lease);
    manifest_release(&s->m);
    fake_kv_release(&s->k);
    free(s);
    return 0;
}

static void run(struct sender *s)
{
    fake_kv_run(&s->k, 1000000, NULL);
}

static void on_put(struct chunk_put *p, int err)
{
    ((struct sender *)p->arg)->put_err = err;
}

static void send(struct sender *s, uint32_t n)
{
    char bytes[32];
    for (uint32_t i = 0; i < n; i++) {
        int len = snprintf(bytes, sizeof(bytes), "chunk %u", s->m.n);
        struct slice value = slice_of(bytes, (size_t)len);
        struct chunk c = {.index = s->m.n, .number = s->m.n, .len = (uint32_t)len};
        if (!upload_lease_number(&s->lease, c.number))
            run(s);
        assert_true(upload_lease_number(&s->lease, c.number));
        digest_sha256(value, c.digest);
        s->put = (struct chunk_put){.done = on_put, .arg = s};
        s->put_err = 1;
        chunk_put_start(&s->io, &s->put, &s->lease.id, c.number, value, DURABILITY_QUORUM);
        run(s);
        assert_int_equal(s->put_err, DYN_OK);
        manifest_add(&s->m, &s->lease.id, &c);
        s->m.size += c.len;
    }
}

/* What it comes to when it is asked until it says so, or fails. */
static int held(struct sender *s)
{
    for (uint32_t i = 0; i < 100; i++) {
        if (upload_lease_holds(&s->lease, &s->m))
            return DYN_OK;
        uint32_t told = s->told;
        run(s);
        assert_int_not_equal(s->told, told); /* it never leaves who waits alone */
        if (s->err != DYN_OK)
            return s->err;
    }
    return DYN_ERR_TIMEOUT;
}

static void delete_chunk(struct sender *s, uint32_t number)
{
    struct buf key = BUF_EMPTY;
    chunk_key(&s->lease.id, number, &key);
    buf_put_u8(&key, 0);
    assert_int_equal(fake_kv_live(&s->k, (const char *)key.data), 1);
    fake_kv_delete(&s->k, (const char *)key.data);
    buf_release(&key);
}

static void test_no_chunk_has_a_number_before_the_record_allows_it(void **state)
{
    struct sender *s = *state;
    assert_false(upload_lease_number(&s->lease, 0));
    assert_false(upload_lease_number(&s->lease, 0)); /* one request is on its way */
    run(s);
    assert_int_equal(s->k.puts, 1);
    assert_int_equal(s->told, 1);
    assert_true(upload_lease_number(&s->lease, UPLOAD_NUMBERS - 1));
    assert_false(upload_lease_number(&s->lease, UPLOAD_NUMBERS));
    run(s);
    assert_true(upload_lease_number(&s->lease, 2 * UPLOAD_NUMBERS - 1));
    assert_int_equal(s->k.puts, 2);
}

static void test_it_is_renewed_and_nobody_waits_for_that(void **state)
{
    struct sender *s = *state;
    send(s, 1);
    for (uint32_t i = 0; i < 12; i++) {
        uint32_t puts = s->k.puts;
        s->k.now_us += 9 * MINUTE;
        upload_lease_renew(&s->lease);
        run(s);
        assert_int_equal(s->k.puts, puts);
        s->k.now_us += MINUTE;
        assert_true(upload_lease_number(&s->lease, 1));
        run(s);
        assert_int_equal(s->k.puts, puts + 1);
    }
    assert_int_equal(held(s), DYN_OK);
    assert_int_equal(s->k.gets, 0); /* two hours, and sure of all */
}

static void test_numbers_that_are_wanted_during_a_renewal_come_after_it(void **state)
{
    struct sender *s = *state;
    send(s, 1);
    s->k.now_us += 11 * MINUTE;
    assert_false(upload_lease_number(&s->lease, UPLOAD_NUMBERS)); /* renews first */
    run(s);
    assert_false(upload_lease_number(&s->lease, UPLOAD_NUMBERS));
    run(s);
    assert_true(upload_lease_number(&s->lease, UPLOAD_NUMBERS));
}

static void test_a_renewal_that_fails_is_tried_again(void **state)
{
    struct sender *s = *state;
    send(s, 1);
    s->k.now_us += 11 * MINUTE;
    s->k.refuse_puts = DYN_ERR_NO_QUORUM;
    upload_lease_renew(&s->lease);
    run(s);
    assert_int_equal(s->err, DYN_OK);
    s->k.refuse_puts = DYN_OK;
    upload_lease_renew(&s->lease);
    run(s);
    s->k.now_us += 25 * MINUTE;
    assert_int_equal(held(s), DYN_OK);
    assert_int_equal(s->k.gets, 0);
}

static void test_after_its_end_all_is_looked_for_once_the_reference_is_said_again(void **state)
{
    struct sender *s = *state;
    send(s, 9);
    s->k.now_us += 120 * MINUTE;
    uint32_t puts = s->k.puts;
    assert_false(upload_lease_holds(&s->lease, &s->m));
    assert_int_equal(s->k.gets, 0);
    run(s);
    assert_int_equal(s->k.puts, puts + 1);
    assert_int_equal(held(s), DYN_OK);
    assert_int_equal(s->k.gets, 9);
    assert_int_equal(held(s), DYN_OK); /* and not once more */
    assert_int_equal(s->k.gets, 9);
}

static void test_a_renewal_that_comes_too_late_makes_nothing_sure(void **state)
{
    struct sender *s = *state;
    send(s, 2);
    s->k.now_us += 120 * MINUTE;
    delete_chunk(s, 0);
    send(s, 1); /* renews on the way */
    assert_int_equal(held(s), DYN_ERR_CONFLICT);
}

static void test_what_is_gone_is_a_conflict(void **state)
{
    struct sender *s = *state;
    send(s, 9);
    s->k.now_us += 120 * MINUTE;
    delete_chunk(s, 7);
    assert_int_equal(held(s), DYN_ERR_CONFLICT);
}

static void test_a_shorter_lease_is_kept_to(void **state)
{
    struct sender *s = *state;
    s->io.lease_ms = 6000;
    send(s, 2);
    delete_chunk(s, 1);
    assert_int_equal(held(s), DYN_OK); /* so soon after it was said */
    s->k.now_us += 3000000;
    assert_int_equal(held(s), DYN_ERR_CONFLICT);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_no_chunk_has_a_number_before_the_record_allows_it),
        T(test_it_is_renewed_and_nobody_waits_for_that),
        T(test_numbers_that_are_wanted_during_a_renewal_come_after_it),
        T(test_a_renewal_that_fails_is_tried_again),
        T(test_after_its_end_all_is_looked_for_once_the_reference_is_said_again),
        T(test_a_renewal_that_comes_too_late_makes_nothing_sure),
        T(test_what_is_gone_is_a_conflict),
        T(test_a_shorter_lease_is_kept_to),
    };
    return cmocka_run_group_tests_name("chunk_lease", tests, NULL, NULL);
}
