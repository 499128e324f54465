// The bench's stand-ins. Linked into test programs only, where they take the place of the modules they are for.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/http_fakes.h"

#include "dataplane/binding/content/content.h"

static struct bench *current;

static void text_add(struct bench_text *text, const void *data, size_t len)
{
    char *grown = realloc(text->data, text->len + len + 1);
    if (grown == NULL)
        abort();
    text->data = grown;
    memcpy(text->data + text->len, data, len);
    text->len += len;
    text->data[text->len] = '\0';
}

static const char *text_take(struct bench_text *text)
{
    static char *last;
    free(last);
    last = text->data == NULL ? strdup("") : text->data;
    *text = (struct bench_text){0};
    return last;
}

// --- onem2m
// -----------------------------------------------------------------------------------------------------------

// The rows that these tests need of TS-0009 table 6.3.2-1; weak, since the real function may be linked as well.
__attribute__((weak)) int onem2m_rsc_http(int rsc)
{
    switch (rsc) {
    case 4106:
    case 4107:
        return 403;
    case 5103:
        return 404;
    case 4005:
        return 405;
    case 4008:
        return 504;
    case 5000:
        return 500;
    default:
        return 400;
    }
}

// --- content
// ----------------------------------------------------------------------------------------------------------

// Content is well-formed when it begins with '{' and ends with '}' and has no '!' in it.
struct content_scan {
    size_t len;
    bool broken;
    struct content_found found[2];
    char text[1 << 18];
};

const struct content_field content_originator_fields[2] = {{.path = {"fr"}, .steps = 1},
                                                           {.path = {"m2m:rqp", "fr"}, .steps = 2}};

enum content_kind content_kind_of_media_type(struct slice media_type)
{
    return media_type.len > 0 ? CONTENT_JSON : CONTENT_UNKNOWN;
}

size_t content_scan_size(void)
{
    return sizeof(struct content_scan);
}

void content_scan_init(struct content_scan *scan, enum content_kind declared, const struct content_field *fields,
                       size_t field_count, unsigned depth_max)
{
    (void)declared;
    (void)fields;
    (void)field_count;
    (void)depth_max;
    scan->len = 0;
    scan->broken = false;
    memset(scan->found, 0, sizeof scan->found);
}

static void look(struct content_scan *scan)
{
    static const char *const marks[][2] = {{"{\"fr\":\"", ",\"fr\":\""}, {"{\"m2m:rqp\":{\"fr\":\"", ""}};
    for (size_t i = 0; i < 2; i++) {
        struct content_found *found = &scan->found[i];
        const char *value = strncmp(scan->text, marks[i][0], strlen(marks[i][0])) == 0 ? scan->text : NULL;
        const char *mark = marks[i][0];
        if (value == NULL && i == 0) {
            mark = marks[i][1];
            value = strstr(scan->text, mark);
        }
        if (value == NULL || strchr(value + strlen(mark), '"') == NULL)
            continue;
        value += strlen(mark);
        found->len = (uint16_t)strcspn(value, "\"");
        memcpy(found->value, value, found->len);
        found->differs = strstr(value, "\"fr\":") != NULL;
        found->count = found->differs ? 2 : 1;
    }
}

int content_scan_feed(struct content_scan *scan, const uint8_t *data, size_t len)
{
    if (scan->broken || scan->len + len >= sizeof scan->text || memchr(data, '!', len) != NULL) {
        scan->broken = true;
        return SAGATE_EMALFORMED;
    }
    memcpy(scan->text + scan->len, data, len);
    scan->len += len;
    scan->text[scan->len] = '\0';
    scan->broken = scan->text[0] != '{';
    look(scan);
    return scan->broken ? SAGATE_EMALFORMED : SAGATE_OK;
}

int content_scan_end(struct content_scan *scan)
{
    if (scan->broken || (scan->len > 0 && scan->text[scan->len - 1] != '}'))
        return SAGATE_EMALFORMED;
    return SAGATE_OK;
}

const struct content_found *content_scan_found(const struct content_scan *scan, size_t index)
{
    return &scan->found[index];
}

// --- pep
// --------------------------------------------------------------------------------------------------------------

static int refuse(struct pep_verdict *verdict, int rsc, enum stat_id stat, const char *debug)
{
    verdict->rsc = rsc;
    verdict->refusal = stat;
    verdict->debug = debug;
    stats_add(current->stats, stat, 1);
    return SAGATE_OK;
}

int pep_check(struct pep *pep, const struct device *device, const struct primitive *primitive,
              struct pep_verdict *verdict)
{
    static const char prefix[] = "//sp.example/id-in/";
    (void)pep;
    bool registration = primitive->operation == ONEM2M_CREATE && primitive->ty == ONEM2M_TY_AE;
    memset(verdict, 0, sizeof *verdict);
    if (device->principal == NULL)
        return refuse(verdict, 4107, STAT_REFUSED_NO_ASSOCIATION, "an association is required");
    if (primitive->from.len == 0 && !registration)
        return refuse(verdict, 4000, STAT_REFUSED_FROM_MISSING, "From is missing");
    if (primitive->from.len > 0 && !slice_is(primitive->from, "Cdev1") && !slice_is(primitive->from, "Cdev2"))
        return refuse(verdict, 4106, STAT_REFUSED_ORIGINATOR, "not the originator of this association");
    if (primitive->from.len == 0)
        return SAGATE_OK;
    memcpy(verdict->from, primitive->from.data, primitive->from.len);
    verdict->from_len = primitive->from.len;
    memcpy(verdict->originator, prefix, sizeof prefix - 1);
    memcpy(verdict->originator + sizeof prefix - 1, verdict->from, verdict->from_len);
    verdict->originator_len = sizeof prefix - 1 + verdict->from_len;
    verdict->route = slice_of(verdict->originator, verdict->originator_len);
    return SAGATE_OK;
}

int pep_check_second(struct pep *pep, const struct device *device, const struct primitive *primitive,
                     const struct pep_verdict *verdict, struct slice second)
{
    (void)pep;
    (void)device;
    (void)primitive;
    if (slice_equal(second, slice_of(verdict->from, verdict->from_len)))
        return 0;
    stats_add(current->stats, STAT_REFUSED_SECOND_ORIGINATOR, 1);
    return slice_is(second, "Cdev1") || slice_is(second, "Cdev2") ? 4000 : 4106;
}

bool pep_wants_answer(const struct primitive *primitive, const struct pep_verdict *verdict, struct pep_pending *pending)
{
    (void)verdict;
    bool registration = primitive->operation == ONEM2M_CREATE && primitive->ty == ONEM2M_TY_AE;
    pending->kind = registration ? 1 : primitive->operation == ONEM2M_DELETE ? 2 : 0;
    return pending->kind != 0;
}

void pep_answer(struct pep *pep, struct principal *principal, size_t upstream_index,
                const struct config_upstream *upstream, const struct pep_pending *pending, int rsc,
                struct slice content)
{
    (void)pep;
    (void)principal;
    (void)upstream_index;
    (void)upstream;
    (void)pending;
    current->answers++;
    current->answer_rsc = rsc;
    current->answer_len = content.len;
    if (content.len > 0)
        memcpy(current->answer_content, content.data,
               content.len < sizeof current->answer_content ? content.len : sizeof current->answer_content);
}

// --- upstream
// ---------------------------------------------------------------------------------------------------------

void upstream_set_checker(struct upstreams *upstreams, enum config_binding binding,
                          const struct upstream_checker *checker)
{
    (void)upstreams;
    (void)binding;
    current->checker = checker;
}

int upstream_pick(struct upstreams *upstreams, size_t index, enum config_binding binding, struct slice originator,
                  const struct config_server **server)
{
    (void)upstreams;
    (void)index;
    (void)binding;
    (void)originator;
    *server = &current->servers[0];
    return current->unavailable ? SAGATE_EUNAVAILABLE : SAGATE_OK;
}

int upstream_begin(struct upstreams *upstreams, const struct config_upstream *upstream,
                   const struct config_server *server, enum config_binding binding)
{
    (void)upstreams;
    (void)upstream;
    (void)server;
    (void)binding;
    if (current->begun - current->ended_answered - current->ended_failed - current->ended_untold >= current->room) {
        stats_add(current->stats, STAT_LIMIT_IN_FLIGHT_UPSTREAM, 1);
        return SAGATE_ELIMIT;
    }
    current->begun++;
    return SAGATE_OK;
}

void upstream_end(struct upstreams *upstreams, const struct config_server *server, enum config_binding binding,
                  enum upstream_outcome outcome, uint64_t latency_us)
{
    (void)upstreams;
    (void)server;
    (void)binding;
    (void)latency_us;
    if (outcome == UPSTREAM_ANSWERED)
        current->ended_answered++;
    else if (outcome == UPSTREAM_FAILED)
        current->ended_failed++;
    else
        current->ended_untold++;
}

void upstream_health_result(struct upstreams *upstreams, const struct config_server *server,
                            enum config_binding binding, bool healthy)
{
    (void)upstreams;
    (void)binding;
    if (server == NULL)
        abort();
    if (healthy)
        current->health_good++;
    else
        current->health_bad++;
}

// --- io
// ---------------------------------------------------------------------------------------------------------------

static struct bench_stream *stream_of(io_stream id)
{
    for (size_t i = 0; i < current->stream_count; i++) {
        if (current->streams[i].id == id && current->streams[i].open)
            return &current->streams[i];
    }
    return NULL;
}

static int fake_connect(struct io *io, const struct address *to, struct io_user *user, io_stream *stream)
{
    (void)io;
    if (current->connect_result != SAGATE_OK)
        return current->connect_result;
    if (current->stream_count == BENCH_STREAMS)
        return SAGATE_ELIMIT;
    struct bench_stream *made = &current->streams[current->stream_count++];
    *made = (struct bench_stream){.id = current->stream_count + 100, .user = user, .to = *to, .open = true};
    *stream = made->id;
    return SAGATE_OK;
}

static int fake_write(struct io *io, io_stream id, const void *data, size_t len)
{
    struct bench_stream *stream = stream_of(id);
    (void)io;
    if (stream == NULL)
        return SAGATE_EGONE;
    if (current->write_result >= 0)
        text_add(&stream->written, data, len);
    return current->write_result;
}

static int fake_pause(struct io *io, io_stream id, bool paused)
{
    struct bench_stream *stream = stream_of(id);
    (void)io;
    if (stream == NULL)
        return SAGATE_EGONE;
    stream->paused = paused;
    return SAGATE_OK;
}

static void fake_close(struct io *io, io_stream id)
{
    struct bench_stream *stream = stream_of(id);
    (void)io;
    if (stream == NULL)
        abort(); // closed twice, or another's
    stream->open = false;
    stream->closed = true;
}

static void fake_abort(struct io *io, io_stream id)
{
    struct bench_stream *stream = stream_of(id);
    (void)io;
    if (stream == NULL)
        abort();
    stream->open = false;
    stream->aborted = true;
}

static const struct io_driver fake_driver = {.name = "fake",
                                             .stream_connect = fake_connect,
                                             .stream_write = fake_write,
                                             .stream_pause = fake_pause,
                                             .stream_close = fake_close,
                                             .stream_abort = fake_abort};

// --- the device's side
// ------------------------------------------------------------------------------------------------

static struct bench_device *device_of(uint64_t association)
{
    if (association == 0 || association > BENCH_DEVICES || current->devices[association - 1].gone)
        return NULL;
    return &current->devices[association - 1];
}

static int port_send(void *context, uint64_t association, const uint8_t *data, size_t len)
{
    struct bench_device *device = device_of(association);
    (void)context;
    if (device == NULL || device->closed)
        return SAGATE_EGONE;
    if (current->send_result >= 0)
        text_add(&device->received, data, len);
    return current->send_result;
}

static void port_pause(void *context, uint64_t association, bool paused)
{
    struct bench_device *device = device_of(association);
    (void)context;
    if (device != NULL)
        device->paused = paused;
}

static void port_close(void *context, uint64_t association)
{
    struct bench_device *device = device_of(association);
    (void)context;
    if (device != NULL)
        device->closed = true;
}

static struct device *port_find(void *context, uint64_t association)
{
    struct bench_device *device = device_of(association);
    (void)context;
    return device == NULL ? NULL : &device->device;
}

// --- the bench
// --------------------------------------------------------------------------------------------------------

static char *text(const char *value)
{
    char *copy = strdup(value);
    if (copy == NULL)
        abort();
    return copy;
}

static void set_up_config(struct bench *bench)
{
    bench->config.limits = (struct config_limits){.requests_per_association = 4,
                                                  .http_head_bytes = 2048,
                                                  .http_head_seconds = 10,
                                                  .http_idle_seconds = 60,
                                                  .http_body_seconds = 20,
                                                  .http_body_buffer_bytes = 64,
                                                  .http_body_bytes = 4096,
                                                  .content_depth = 32};
    bench->servers[0] = (struct config_server){.name = text("a"), .has_http = true, .weight = 1};
    if (address_parse_pair("127.0.0.1:8080", &bench->servers[0].http) != SAGATE_OK)
        abort();
    bench->upstream = (struct config_upstream){.name = text("in"),
                                               .sp_id = text("//sp.example"),
                                               .cse_id = text("/id-in"),
                                               .authorization = text(""),
                                               .request_id_bytes = 20,
                                               .request_milliseconds = 5000,
                                               .requests = 8,
                                               .connections = 2,
                                               .connection_idle_seconds = 30,
                                               .http_health = CONFIG_HEALTH_REQUEST,
                                               .health_path = text("/cse-in"),
                                               .health_originator = text("Chealth"),
                                               .health_timeout_milliseconds = 1000,
                                               .server_count = 1,
                                               .servers = bench->servers};
    bench->config.upstream_count = 1;
    bench->config.upstreams = &bench->upstream;
    bench->listener = (struct config_listener){.name = text("tls"), .release_version_default = text("3")};
    (void)address_parse_pair("192.0.2.1:8443", &bench->listener.address);
    bench->config.listener_count = 1;
    bench->config.listeners = &bench->listener;
}

struct bench *bench_new(void)
{
    struct bench *bench = calloc(1, sizeof *bench);
    if (bench == NULL)
        abort();
    current = bench;
    set_up_config(bench);
    bench->room = 100;
    bench->now_us = 1000000000;
    bench->wheel = timer_wheel_new(bench->now_us / 1000);
    bench->stats = calloc(1, sizeof *bench->stats);
    bench->io = calloc(1, sizeof *bench->io);
    if (bench->wheel == NULL || bench->stats == NULL || bench->io == NULL)
        abort();
    bench->io->driver = &fake_driver;
    for (size_t i = 0; i < BENCH_DEVICES; i++) {
        struct device *device = &bench->devices[i].device;
        *device = (struct device){.association = i + 1, .listener = &bench->listener, .upstream = &bench->upstream};
        device->principal = principal_new(FRAMEWORK_PSK, slice_text("12-dev1"), (struct slice){0});
        (void)address_parse_pair("198.51.100.7:4711", &device->peer);
    }
    struct http_options options = {
        .config = &bench->config,
        .io = bench->io,
        .wheel = bench->wheel,
        .stats = bench->stats,
        .port = {.context = bench, .send = port_send, .pause = port_pause, .close = port_close, .find = port_find},
        .io_user_kind = 7};
    if (http_new(&options, &bench->http) != SAGATE_OK)
        abort();
    return bench;
}

void bench_free(struct bench *bench)
{
    for (size_t i = 0; i < BENCH_DEVICES; i++) {
        bench_device_gone(bench, i);
        free(bench->devices[i].received.data);
        principal_release(bench->devices[i].device.principal);
    }
    http_free(bench->http);
    for (size_t i = 0; i < bench->stream_count; i++) {
        if (bench->streams[i].open)
            abort(); // a connection was forgotten
        free(bench->streams[i].written.data);
    }
    timer_wheel_free(bench->wheel);
    free(bench->stats);
    free(bench->io);
    free(bench->servers[0].name);
    free(bench->upstream.name);
    free(bench->upstream.sp_id);
    free(bench->upstream.cse_id);
    free(bench->upstream.authorization);
    free(bench->upstream.health_path);
    free(bench->upstream.health_originator);
    free(bench->listener.name);
    free(bench->listener.release_version_default);
    free(bench);
}

void bench_device_says(struct bench *bench, size_t n, const void *data, size_t len)
{
    if (!bench->devices[n].gone)
        http_from_device(bench->http, &bench->devices[n].device, data, len, bench->now_us);
}

void bench_says(struct bench *bench, const char *said)
{
    bench_device_says(bench, 0, said, strlen(said));
}

static void event(struct bench *bench, size_t s, struct io_event what)
{
    if (s >= bench->stream_count || !bench->streams[s].open)
        return; // as a driver does: no event after the end
    if (bench->streams[s].connected == (what.type == IO_CONNECTED))
        return; // and one IO_CONNECTED, before all others
    bench->streams[s].connected = true;
    what.stream = bench->streams[s].id;
    what.user = bench->streams[s].user;
    if (what.type == IO_CLOSED || (what.type == IO_CONNECTED && what.error != 0))
        bench->streams[s].open = false;
    http_from_upstream(bench->http, &what, bench->now_us);
}

void bench_connected(struct bench *bench, size_t s)
{
    event(bench, s, (struct io_event){.type = IO_CONNECTED});
}

void bench_refused(struct bench *bench, size_t s)
{
    event(bench, s, (struct io_event){.type = IO_CONNECTED, .error = 111});
}

void bench_cse_data(struct bench *bench, size_t s, const void *data, size_t len)
{
    uint8_t *copy = malloc(len + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, data, len);
    event(bench, s, (struct io_event){.type = IO_DATA, .data = copy, .len = len});
    free(copy);
}

void bench_cse_says(struct bench *bench, size_t s, const char *said)
{
    bench_cse_data(bench, s, said, strlen(said));
}

void bench_cse_event(struct bench *bench, size_t s, enum io_event_type type, int error)
{
    event(bench, s, (struct io_event){.type = type, .error = error});
}

void bench_device_gone(struct bench *bench, size_t n)
{
    if (bench->devices[n].gone)
        return;
    bench->devices[n].gone = true;
    http_device_gone(bench->http, &bench->devices[n].device, bench->now_us);
}

void bench_wait(struct bench *bench, uint64_t milliseconds)
{
    bench->now_us += milliseconds * 1000;
    timer_wheel_run(bench->wheel, bench->now_us / 1000);
}

const char *bench_heard(struct bench *bench, size_t n)
{
    return text_take(&bench->devices[n].received);
}

const char *bench_written(struct bench *bench, size_t s)
{
    return s < bench->stream_count ? text_take(&bench->streams[s].written) : "";
}

uint64_t bench_stat(const struct bench *bench, enum stat_id stat)
{
    return bench->stats->counters[stat];
}
