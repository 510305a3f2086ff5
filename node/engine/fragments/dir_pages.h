/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of a directory's entries from R replicas of each of its fragments: what a listing merges. A
 * fragment asks like a get does: all who vote, stand-ins for who fails or is silent, other owners
 * when somebody names them. The replicas of fragment 0 say how far the directory has grown; where
 * that is further than was known here, the further fragments are asked as well. */
#ifndef DYN_ENGINE_DIR_PAGES_H
#define DYN_ENGINE_DIR_PAGES_H

#include "engine/peer_wire.h"

struct dir_pages;

struct dir_page {
    uint64_t node;
    uint32_t fragment;
    uint64_t asked_us; /* when the first was asked; what is told to others is no younger (E15) */
    bool primary;
    struct buf body; /* what the reply's names borrow from */
    struct peer_list_reply reply;
};

struct dir_pages_params {
    struct slice dir, after; /* copied */
    uint32_t limit;          /* names that are wanted; 0: none, only the directory's mtime */
    struct quorum quorum;
    /* Runs once, never inside dir_pages_start. The pages are valid during the call. DYN_OK,
     * DYN_ERR_NO_QUORUM. */
    void (*done)(void *arg, int status, const struct dir_page *pages, uint32_t n);
    void *arg;
};
struct dir_pages *dir_pages_start(struct engine *e, const struct dir_pages_params *p);
void dir_pages_forget(struct dir_pages *d); /* done will not run; valid only before it has */
/* Of the fragment that the fewest have answered for; votes: only those that count (catchup.h). */
uint32_t dir_pages_answered(const struct dir_page *pages, uint32_t n, bool votes);

#endif
