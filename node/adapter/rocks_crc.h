/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C with the processor's own instructions, in the place of RocksDB's. */
#ifndef DYN_ADAPTER_ROCKS_CRC_H
#define DYN_ADAPTER_ROCKS_CRC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether RocksDB's checksums are made here: the processor can, the linker has let our function
 * stand before the library's, and both agree. Otherwise RocksDB's own makes them, more slowly. */
bool rocks_crc_in_place(void);

/* The checksum of `n` bytes that follow bytes of the checksum `crc` (0: none). The name is that
 * which the library's C++ compiler gives rocksdb::crc32c::Extend. */
uint32_t rocks_crc_extend(uint32_t crc, const char *data,
                          size_t n) __asm__("_ZN7rocksdb6crc32c6ExtendEjPKcm");

#endif
