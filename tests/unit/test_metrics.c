// Metrics: valid exposition text, sums over workers, every name documented; the HTTP server over a socket pair's worth
// of loopback.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/metrics/metrics.h"
#include "tests/unit/unit.h"

#include <ctype.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WORKERS = 2 };

static uint8_t *memory;
static struct config_server servers[] = {{.name = (char[]){"s\"1"}, .number = 0, .has_http = true, .has_coap = true},
                                         {.name = (char[]){"s2"}, .number = 1, .has_coap = true}};
static struct config_upstream upstream = {.name = (char[]){"in"}, .server_count = 2, .servers = servers};
static struct config config = {.upstream_count = 1, .upstreams = &upstream};
static struct plane_processes processes = {.supervisor = 1, .control = 2, .data = 3, .data_restarts = 4};
static const struct metrics_value values[] = {{"things_total", "result=\"ok\"", "counter", "Things", 5},
                                              {"things_total", "result=\"bad\"", "counter", "", 6}};

static struct stats *worker(unsigned n)
{
    return (struct stats *)(void *)(memory + (size_t)n * (size_t)METRICS_STRIDE);
}

static struct metrics_source fresh(void)
{
    size_t size = (size_t)WORKERS * (size_t)METRICS_STRIDE;
    if (memory == NULL)
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_NOT_EQUAL_FATAL(memory, MAP_FAILED);
    memset(memory, 0, size);
    for (unsigned i = 0; i < WORKERS; i++)
        worker(i)->layout = STATS_LAYOUT;
    return (struct metrics_source){.config = &config,
                                   .stats = memory,
                                   .workers = WORKERS,
                                   .present = WORKERS,
                                   .processes = &processes,
                                   .values = values,
                                   .value_count = 2};
}

static char *render(const struct metrics_source *source)
{
    struct evbuffer *buffer = evbuffer_new();
    metrics_render(source, buffer);
    (void)evbuffer_add(buffer, "", 1);
    char *text = strdup((const char *)evbuffer_pullup(buffer, -1));
    evbuffer_free(buffer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    return text;
}

static void has(const char *text, const char *line)
{
    const char *at = strstr(text, line);
    CU_ASSERT_PTR_NOT_NULL(at);
    if (at == NULL)
        (void)fprintf(stderr, "missing: %s\n", line);
    else
        CU_ASSERT_TRUE((at == text || at[-1] == '\n') && at[strlen(line)] == '\n');
}

static void counters_are_summed_over_workers(void)
{
    struct metrics_source source = fresh();
    stats_add(worker(0), STAT_ASSOCIATIONS_DTLS, 3);
    stats_add(worker(1), STAT_ASSOCIATIONS_DTLS, 4);
    worker(0)->primitives[STATS_COAP][1][STATS_RSC_2001] = 2;
    worker(1)->primitives[STATS_COAP][1][STATS_RSC_2001] = 5;
    worker(1)->primitives[STATS_HTTP][0][STATS_RSC_OTHER] = 1;
    char *text = render(&source);
    has(text, "sagate_associations{transport=\"dtls\"} 7");
    has(text, "sagate_primitives_total{binding=\"coap\",operation=\"create\",rsc=\"2001\"} 7");
    has(text, "sagate_primitives_total{binding=\"http\",operation=\"unknown\",rsc=\"other\"} 1");
    has(text, "sagate_process_restarts_total{process=\"data\"} 4");
    has(text, "sagate_build_info{version=\"" SAGATE_VERSION "\"} 1");
    has(text, "sagate_things_total{result=\"bad\"} 6");
    free(text);
    worker(1)->layout = 0; // has not started yet
    CU_ASSERT_EQUAL(metrics_sum(&source, STAT_ASSOCIATIONS_DTLS), 3);
}

static void upstreams_are_named(void)
{
    struct metrics_source source = fresh();
    for (unsigned i = 0; i < WORKERS; i++) {
        worker(i)->servers[0].healthy[STATS_HTTP] = 1;
        worker(i)->servers[0].latency[STATS_HTTP][stats_latency_bucket(100)] += 1;
        worker(i)->servers[0].latency[STATS_HTTP][stats_latency_bucket(1500000)] += 1;
        worker(i)->servers[0].latency[STATS_HTTP][STATS_LATENCY_BUCKETS - 1] += 1;
        worker(i)->servers[0].latency_sum_us[STATS_HTTP] = 1000001;
        worker(i)->servers[1].requests[STATS_COAP] = 9;
    }
    worker(0)->servers[1].healthy[STATS_COAP] = 1; // the other worker holds it for sick
    char *text = render(&source);
    has(text, "sagate_upstream_healthy{upstream=\"in\",server=\"s\\\"1\",binding=\"http\"} 1");
    has(text, "sagate_upstream_healthy{upstream=\"in\",server=\"s2\",binding=\"coap\"} 0");
    has(text, "sagate_upstream_requests_total{upstream=\"in\",server=\"s2\",binding=\"coap\"} 18");
    has(text,
        "sagate_upstream_latency_seconds_bucket{upstream=\"in\",server=\"s\\\"1\",binding=\"http\",le=\"0.0001\"} 2");
    has(text,
        "sagate_upstream_latency_seconds_bucket{upstream=\"in\",server=\"s\\\"1\",binding=\"http\",le=\"1.6384\"} 4");
    has(text,
        "sagate_upstream_latency_seconds_bucket{upstream=\"in\",server=\"s\\\"1\",binding=\"http\",le=\"+Inf\"} 6");
    has(text, "sagate_upstream_latency_seconds_count{upstream=\"in\",server=\"s\\\"1\",binding=\"http\"} 6");
    has(text, "sagate_upstream_latency_seconds_sum{upstream=\"in\",server=\"s\\\"1\",binding=\"http\"} 2.000002");
    CU_ASSERT_PTR_NULL(strstr(text, "server=\"s2\",binding=\"http\""));
    free(text);
}

// promtool's rules in small: HELP and TYPE once per name and before its samples, samples of a name together, no series
// twice.
static void text_is_well_formed(void)
{
    struct metrics_source source = fresh();
    source.value_count = 0; // the control process's own are checked where they are made
    char *text = render(&source);
    char *documents = NULL;
    size_t len = 0;
    FILE *file = fopen("docs/metrics.md", "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_TRUE(getdelim(&documents, &len, '\0', file) > 0);
    (void)fclose(file);
    char current[128] = "";
    char *rest = text;
    char *line;
    while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
        char name[128];
        if (strncmp(line, "# HELP ", 7) == 0) {
            CU_ASSERT_EQUAL(sscanf(line, "# HELP %127s", name), 1);
            CU_ASSERT_TRUE(strlen(line) > 8 + strlen(name)); // says something
            char quoted[160];
            (void)snprintf(quoted, sizeof quoted, "`%s`", name);
            CU_ASSERT_PTR_NOT_NULL(strstr(documents, quoted));
            if (strstr(documents, quoted) == NULL)
                (void)fprintf(stderr, "not in docs/metrics.md: %s\n", name);
            (void)snprintf(current, sizeof current, "%s", name);
            char again[160];
            (void)snprintf(again, sizeof again, "# HELP %s ", name);
            CU_ASSERT_TRUE(rest == NULL || strstr(rest, again) == NULL);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            CU_ASSERT_EQUAL(sscanf(line, "# TYPE %127s", name), 1);
            CU_ASSERT_STRING_EQUAL(name, current);
            bool counter = strstr(line, " counter") != NULL;
            size_t end = strlen(name);
            CU_ASSERT_EQUAL(counter, end > 6 && strcmp(name + end - 6, "_total") == 0);
        } else {
            CU_ASSERT_EQUAL(strncmp(line, current, strlen(current)), 0);
            char *value = strrchr(line, ' ');
            CU_ASSERT_PTR_NOT_NULL_FATAL(value);
            CU_ASSERT_TRUE(isdigit((unsigned char)value[1]));
        }
    }
    free(documents);
    free(text);
}

static void readiness_says_what_is_missing(void)
{
    char reason[128];
    struct metrics_source source = fresh();
    CU_ASSERT_FALSE(metrics_ready(&source, reason, sizeof reason));
    CU_ASSERT_STRING_EQUAL(reason, "no upstream is healthy");
    worker(0)->servers[1].healthy[STATS_COAP] = 1;
    CU_ASSERT_FALSE(metrics_ready(&source, reason, sizeof reason));
    worker(1)->servers[1].healthy[STATS_COAP] = 1;
    CU_ASSERT_TRUE(metrics_ready(&source, reason, sizeof reason));
    source.present = 1;
    CU_ASSERT_FALSE(metrics_ready(&source, reason, sizeof reason));
    CU_ASSERT_STRING_EQUAL(reason, "1 of 2 workers have reported");
    source.present = 2;
    processes.data = 0;
    CU_ASSERT_FALSE(metrics_ready(&source, reason, sizeof reason));
    CU_ASSERT_STRING_EQUAL(reason, "the data process is not running");
    processes.data = 3;
    source.config = NULL;
    CU_ASSERT_FALSE(metrics_ready(&source, reason, sizeof reason));
    source.stats = NULL;
    CU_ASSERT_EQUAL(metrics_sum(&source, STAT_BYTES_IN), 0);
}

static void fill(void *context, struct metrics_source *out)
{
    *out = *(const struct metrics_source *)context;
}

static void http_get(struct event_base *base, const struct sockaddr_in *address, const char *request, char *answer,
                     size_t cap)
{
    size_t used = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(connect(fd, (const struct sockaddr *)address, sizeof *address), 0);
    CU_ASSERT_EQUAL(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    for (int turns = 0; turns < 10000 && used < cap - 1; turns++) {
        (void)event_base_loop(base, EVLOOP_NONBLOCK);
        ssize_t got = recv(fd, answer + used, cap - 1 - used, MSG_DONTWAIT);
        if (got == 0)
            break;
        used += got > 0 ? (size_t)got : 0;
        if (got < 0)
            (void)usleep(1000);
    }
    answer[used] = '\0';
    close(fd);
}

static void http_serves_three_paths(void)
{
    static char answer[256 * 1024];
    struct metrics_source source = fresh();
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    struct event_base *base = event_base_new();
    struct metrics_http *http = metrics_http_new(base, fill, &source);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    CU_ASSERT_EQUAL_FATAL(listen(fd, 16), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    CU_ASSERT_EQUAL_FATAL(metrics_http_listen(http, fd), SAGATE_OK);
    http_get(base, &address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof answer);
    CU_ASSERT_EQUAL(strncmp(answer, "HTTP/1.1 200 OK\r\n", 17), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "Content-Type: text/plain; version=0.0.4"));
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\nsagate_workers 2\n"));
    http_get(base, &address, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof answer);
    CU_ASSERT_EQUAL(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
    http_get(base, &address, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof answer);
    CU_ASSERT_EQUAL(strncmp(answer, "HTTP/1.1 503 ", 13), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "no upstream is healthy"));
    http_get(base, &address, "GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof answer);
    CU_ASSERT_EQUAL(strncmp(answer, "HTTP/1.1 404 ", 13), 0);
    http_get(base, &address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", answer, sizeof answer);
    CU_ASSERT_EQUAL(strncmp(answer, "HTTP/1.1 501 ", 13), 0);
    http_get(base, &address, "\x16\x03\x01garbage\r\n\r\n", answer, sizeof answer);
    CU_ASSERT_EQUAL(strncmp(answer, "HTTP/1.1 4", 10), 0);
    http_get(base, &address, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof answer);
    CU_ASSERT_EQUAL(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
    metrics_http_free(http);
    event_base_free(base);
}

static const struct unit_test tests[] = {
    {"counters are summed over workers", counters_are_summed_over_workers},
    {"upstreams are named", upstreams_are_named},
    {"text is well-formed and documented", text_is_well_formed},
    {"readiness says what is missing", readiness_says_what_is_missing},
    {"http serves three paths", http_serves_three_paths},
};

UNIT_MAIN("metrics", tests)
