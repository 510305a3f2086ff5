/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target as a plain test: on each file of its corpus, on each prefix of it, and with
 * each byte changed in a few ways. So what fuzzing once reached stays reached, in every build and
 * under the sanitizers, without libFuzzer. */
#include <dirent.h>
#include <string.h>

#include "base/mem.h"
#include "fuzz.h"

#define INPUT_MAX 4096 /* longer files are run as they are only */

static unsigned long inputs;

/* From a copy of its exact size, so that a sanitizer sees the first byte read beyond it. */
static void run(const uint8_t *data, size_t len)
{
    uint8_t *copy = mem_dup(data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
    inputs++;
}

static void run_around(uint8_t *data, size_t len)
{
    static const uint8_t changes[] = {0x01, 0x80, 0xff};
    run(data, len);
    if (len > INPUT_MAX)
        return;
    for (size_t cut = 0; cut < len; cut++)
        run(data, cut);
    for (size_t at = 0; at < len; at++) {
        for (size_t i = 0; i < sizeof(changes); i++) {
            data[at] ^= changes[i];
            run(data, len);
            data[at] ^= changes[i];
        }
    }
}

static void run_file(const char *folder, const char *name)
{
    char *path = mem_printf("%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    CLAIM(file != NULL);
    size_t room = 1 << 20;
    uint8_t *data = mem_alloc(room);
    size_t len = fread(data, 1, room, file);
    CLAIM(!ferror(file) && feof(file));
    fclose(file);
    run_around(data, len);
    free(data);
    free(path);
}

int main(int argc, char **argv)
{
    CLAIM(argc == 2);
    DIR *folder = opendir(argv[1]);
    CLAIM(folder != NULL);
    unsigned files = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        run_file(argv[1], entry->d_name);
        files++;
    }
    closedir(folder);
    CLAIM(files > 0);
    printf("1..1\nok 1 - %lu inputs around %u files\n", inputs, files);
    return 0;
}
