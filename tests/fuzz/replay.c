// Runs a fuzz target over files instead of a fuzzer, so that seeds and past findings are ordinary tests.
// SPDX-License-Identifier: GPL-3.0-or-later
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return -1;
    uint8_t *data = malloc(1 << 20);
    size_t len = data == NULL ? 0 : fread(data, 1, 1 << 20, file);
    (void)fclose(file);
    if (data == NULL)
        return -1;
    // A copy of the exact size, so that a sanitizer sees a read past the end.
    uint8_t *exact = malloc(len == 0 ? 1 : len);
    if (exact != NULL) {
        for (size_t i = 0; i < len; i++)
            exact[i] = data[i];
        (void)LLVMFuzzerTestOneInput(exact, len);
    }
    free(exact);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    size_t count = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (folder == NULL) {
            (void)fprintf(stderr, "replay: no folder of seeds at %s\n", argv[i]);
            return EXIT_FAILURE;
        }
        for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
            char path[4096];
            if (entry->d_name[0] == '.')
                continue;
            (void)snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            if (replay(path) != 0) {
                (void)fprintf(stderr, "replay: cannot read %s\n", path);
                return EXIT_FAILURE;
            }
            count++;
        }
        closedir(folder);
    }
    printf("replayed %zu seeds\n", count);
    return count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
