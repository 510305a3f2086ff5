/* SPDX-License-Identifier: Apache-2.0 */
/* A staging folder in memory behind a struct stage_port, on the clock of a fake cluster: what is
 * written is there a little later, and stays when the mount that wrote it is no more. */
#ifndef DYN_TESTS_FAKE_STAGE_H
#define DYN_TESTS_FAKE_STAGE_H

#include "base/list.h"
#include "fs_world.h"
#include "port/stage.h"

#define FAKE_STAGE_RECORDS 16
#define FAKE_STAGE_CHUNKS 64

struct fake_record {
    uint64_t id; /* 0: none */
    struct buf body;
    struct buf chunks[FAKE_STAGE_CHUNKS];
    uint64_t stamps[FAKE_STAGE_CHUNKS];
    uint32_t n;
};

struct fake_stage {
    struct fake_kv *k;
    struct fake_record records[FAKE_STAGE_RECORDS];
    uint64_t delay_us;
    int fail;  /* enum dyn_err: puts end so */
    bool deaf; /* puts never end */
    uint32_t puts, chunks_put, set_aside;
    struct list pending;
};

void fake_stage_init(struct fake_stage *s, struct fake_kv *k);
void fake_stage_release(struct fake_stage *s);
uint32_t fake_stage_count(const struct fake_stage *s);
void fake_stage_use(struct fake_stage *s, struct mount *m);
/* Hands all records to a new mount; whatever it refuses counts as set_aside. */
void fake_stage_load(struct fake_stage *s, struct mount *m);

#endif
