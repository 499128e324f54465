// The sagate program: supervisor, or one of its two children when started with --role.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/log.h"
#include "controlplane/control/control.h"
#include "controlplane/supervisor/build.h"
#include "controlplane/supervisor/confine.h"
#include "controlplane/supervisor/supervisor.h"
#include "dataplane/worker/data.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static void usage(FILE *out)
{
    (void)fprintf(out, "usage: sagate -c FILE        run in the foreground\n"
                       "       sagate -t -c FILE     check the configuration and say what it would do\n"
                       "       sagate -V, --probe    print the version and what it shares with other builds\n"
                       "SIGHUP reloads the configuration; SIGTERM ends. sagatectl asks a running sagate.\n");
}

// A child: what it needs comes over its socket to the supervisor.
static int child_main(const char *role, const char *user)
{
    bool data = strcmp(role, "data") == 0;
    log_set_process(data ? "data" : "control");
    (void)prctl(PR_SET_NAME, data ? "sagate: data" : "sagate: control", 0, 0, 0);
    if (confine_user(user) != SAGATE_OK) {
        log_error("cannot become user \"%s\"", user);
        return EXIT_FAILURE;
    }
    return data ? data_main(SUPERVISOR_CHILD_FD, confine_data) : control_main(SUPERVISOR_CHILD_FD);
}

static int print_build(void)
{
    struct build build;
    char text[BUILD_TEXT_MAX];
    build_own(&build);
    build_write(&build, text);
    return fputs(text, stdout) < 0 || fflush(stdout) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"role", required_argument, NULL, 'R'},   {"user", required_argument, NULL, 'U'},
        {"config", required_argument, NULL, 'c'}, {"test", no_argument, NULL, 't'},
        {"version", no_argument, NULL, 'V'},      {"probe", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    const char *config = NULL;
    const char *role = NULL;
    const char *user = "";
    bool check = false;
    int option;
    while ((option = getopt_long(argc, argv, "c:thV", options, NULL)) != -1) {
        switch (option) {
        case 'R':
            role = optarg;
            break;
        case 'U':
            user = optarg;
            break;
        case 'c':
            config = optarg;
            break;
        case 't':
            check = true;
            break;
        case 'V':
            return print_build();
        case 'h':
            usage(stdout);
            return EXIT_SUCCESS;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (role != NULL)
        return child_main(role, user);
    if (config == NULL || optind != argc) {
        usage(stderr);
        return 2;
    }
    log_set_process("supervisor");
    return check ? supervisor_check(config) : supervisor_run(config, argv[0]);
}
