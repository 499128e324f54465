// The world in memory around the CoAP binding.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/coap_fakes.h"

#include "common/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct world world;

// --- io ----------------------------------------------------------------------------------------------------------

static uint8_t reserved[IO_DATAGRAM_MAX];

static int fake_add_datagram(struct io *io, int fd, struct io_user *user, io_id *id)
{
    (void)io;
    (void)close(fd);
    for (io_id i = 1; i < WORLD_SOCKETS_MAX; i++) {
        if (world.sockets[i] == NULL && (world.sockets_max == 0 || i <= world.sockets_max)) {
            world.sockets[i] = user;
            *id = i;
            return SAGATE_OK;
        }
    }
    return SAGATE_ELIMIT;
}

static void fake_remove(struct io *io, io_id id)
{
    (void)io;
    world.sockets[id] = NULL;
}

static uint8_t *fake_reserve(struct io *io, size_t len)
{
    (void)io;
    return len <= sizeof reserved ? reserved : NULL;
}

static void keep(io_id id, uint64_t association, const uint8_t *data, size_t len)
{
    struct world_message *message = &world.sent[world.sent_count % WORLD_SENT_MAX];
    world.sent_count++;
    message->id = id;
    message->association = association;
    message->len = len;
    memcpy(message->data, data, len);
}

static int fake_commit(struct io *io, io_id id, const struct address *to, size_t len)
{
    (void)io;
    (void)to;
    keep(id, 0, reserved, len);
    return SAGATE_OK;
}

static const struct io_driver fake_driver = {.name = "fake",
                                             .add_datagram = fake_add_datagram,
                                             .remove = fake_remove,
                                             .datagram_reserve = fake_reserve,
                                             .datagram_commit = fake_commit};
static struct io fake_io = {.driver = &fake_driver};

static int port_send(void *context, uint64_t association, const uint8_t *data, size_t len)
{
    (void)context;
    if (len > world.device_datagram_max)
        return SAGATE_ETOOBIG;
    keep(0, association, data, len);
    return SAGATE_OK;
}

static struct device *port_find(void *context, uint64_t association)
{
    (void)context;
    return association == world.device.association ? &world.device : NULL;
}

// --- the originator check: the principal's AE-IDs, no transit ----------------------------------------------------

static bool is_own(const struct device *device, struct slice from)
{
    for (size_t i = 0; i < device->principal->ae_count; i++) {
        if (slice_is(from, device->principal->aes[i].stem))
            return true;
    }
    return false;
}

int pep_check(struct pep *pep, const struct device *device, const struct primitive *primitive,
              struct pep_verdict *verdict)
{
    struct slice from = primitive->from;
    bool registers = primitive->operation == ONEM2M_CREATE && primitive->ty == ONEM2M_TY_AE;
    (void)pep;
    memset(verdict, 0, sizeof *verdict);
    verdict->debug = "refused";
    verdict->route = slice_text("route");
    if (device->principal == NULL)
        verdict->rsc = RSC_SECURITY_ASSOCIATION_REQUIRED;
    else if (from.len == 0 && !registers)
        verdict->rsc = RSC_BAD_REQUEST;
    else if (from.len > 0 && !is_own(device, from))
        verdict->rsc = RSC_ORIGINATOR_NOT_AUTHENTICATED;
    if (verdict->rsc != 0 || from.len == 0)
        return SAGATE_OK;
    verdict->from_len = from.len;
    memcpy(verdict->from, from.data, from.len);
    verdict->originator_len =
        (size_t)snprintf(verdict->originator, sizeof verdict->originator, "//sp/id-in/%.*s", (int)from.len, from.data);
    return SAGATE_OK;
}

int pep_check_second(struct pep *pep, const struct device *device, const struct primitive *primitive,
                     const struct pep_verdict *verdict, struct slice second)
{
    (void)pep;
    (void)primitive;
    if (slice_equal(second, slice_of(verdict->from, verdict->from_len)))
        return 0;
    stats_add(world.stats, STAT_REFUSED_SECOND_ORIGINATOR, 1);
    return is_own(device, second) ? RSC_BAD_REQUEST : RSC_ORIGINATOR_NOT_AUTHENTICATED;
}

bool pep_wants_answer(const struct primitive *primitive, const struct pep_verdict *verdict, struct pep_pending *pending)
{
    (void)verdict;
    bool wants = primitive->operation == ONEM2M_DELETE ||
                 (primitive->operation == ONEM2M_CREATE && primitive->ty == ONEM2M_TY_AE);
    if (wants)
        pending->kind = 1;
    return wants;
}

void pep_answer(struct pep *pep, struct principal *principal, size_t upstream_index,
                const struct config_upstream *upstream, const struct pep_pending *pending, int rsc,
                struct slice content)
{
    (void)pep;
    (void)upstream_index;
    (void)upstream;
    (void)pending;
    (void)content;
    world.pep_answers++;
    world.pep_answer_rsc = rsc;
    if (principal != world.principal)
        abort();
}

// --- the choice of a CSE -----------------------------------------------------------------------------------------

void upstream_set_checker(struct upstreams *upstreams, enum config_binding binding,
                          const struct upstream_checker *checker)
{
    (void)upstreams;
    (void)binding;
    world.checker = *checker;
}

int upstream_pick(struct upstreams *upstreams, size_t index, enum config_binding binding, struct slice originator,
                  const struct config_server **server)
{
    (void)upstreams;
    (void)binding;
    (void)originator;
    *server = &world.config.upstreams[index].servers[0];
    return world.unavailable ? SAGATE_EUNAVAILABLE : SAGATE_OK;
}

int upstream_begin(struct upstreams *upstreams, const struct config_upstream *upstream,
                   const struct config_server *server, enum config_binding binding)
{
    (void)upstreams;
    (void)server;
    (void)binding;
    if (world.full ||
        world.begun - world.ended_answered - world.ended_failed - world.ended_untold >= upstream->requests) {
        stats_add(world.stats, STAT_LIMIT_IN_FLIGHT_UPSTREAM, 1);
        return SAGATE_ELIMIT;
    }
    world.begun++;
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
        world.ended_answered++;
    else if (outcome == UPSTREAM_FAILED)
        world.ended_failed++;
    else
        world.ended_untold++;
}

void upstream_health_result(struct upstreams *upstreams, const struct config_server *server,
                            enum config_binding binding, bool healthy)
{
    (void)upstreams;
    (void)server;
    (void)binding;
    if (healthy)
        world.healthy++;
    else
        world.unhealthy++;
}

// --- the world ---------------------------------------------------------------------------------------------------

static char empty_text[] = "", up_text[] = "in", one_text[] = "cse1", two_text[] = "cse2", sp_text[] = "//sp",
            cse_text[] = "/id-in", health_text[] = "/cse-in?rcn=1", monitor_text[] = "Cmonitor";

static void prepare_server(struct config_server *server, char *name, size_t number, uint16_t port)
{
    *server = (struct config_server){.name = name, .number = number, .has_coap = true, .weight = 1};
    if (address_parse("127.0.0.1", port, &server->coap) != SAGATE_OK)
        abort();
}

void world_prepare(void)
{
    memset(&world, 0, offsetof(struct world, sent));
    world.config.limits = (struct config_limits){.requests_per_association = 4,
                                                 .coap_exchange_bytes = 65536,
                                                 .observations_per_association = 2,
                                                 .content_depth = 32};
    prepare_server(&world.servers[0], one_text, 0, 45683);
    prepare_server(&world.servers[1], two_text, 1, 45684);
    world.upstream = (struct config_upstream){.name = up_text,
                                              .sp_id = sp_text,
                                              .cse_id = cse_text,
                                              .request_id_bytes = 110,
                                              .request_milliseconds = 30000,
                                              .requests = 64,
                                              .coap_source_ports = 1,
                                              .coap_health = CONFIG_HEALTH_PING,
                                              .health_path = health_text,
                                              .health_originator = monitor_text,
                                              .health_timeout_milliseconds = 2000,
                                              .server_count = 1,
                                              .servers = world.servers};
    world.config.upstream_count = 1;
    world.config.upstreams = &world.upstream;
    world.listener = (struct config_listener){.release_version_default = empty_text};
    world.principal = principal_new(FRAMEWORK_PSK, slice_text("12-dev1@sp"), (struct slice){0});
    if (world.principal == NULL || principal_add_ae(world.principal, slice_text("C1"), slice_text("")) != SAGATE_OK ||
        principal_add_ae(world.principal, slice_text("C2"), slice_text("")) != SAGATE_OK)
        abort();
    world.device = (struct device){
        .association = 77, .principal = world.principal, .listener = &world.listener, .upstream = &world.upstream};
    (void)address_parse("192.0.2.7", 40000, &world.device.peer);
    world.device_datagram_max = IO_DATAGRAM_MAX;
    world.now_us = 1000000000;
}

void world_start(void)
{
    world.wheel = timer_wheel_new(world.now_us / 1000);
    world.stats = calloc(1, sizeof *world.stats);
    const struct coap_options options = {.config = &world.config,
                                         .io = &fake_io,
                                         .wheel = world.wheel,
                                         .stats = world.stats,
                                         .port = {.send = port_send, .find = port_find},
                                         .io_user_kind = 9};
    if (world.wheel == NULL || world.stats == NULL || coap_new(&options, &world.coap) != SAGATE_OK)
        abort();
}

void world_stop(void)
{
    coap_free(world.coap);
    timer_wheel_free(world.wheel);
    free(world.stats);
    principal_release(world.principal);
}

void world_advance(uint64_t ms)
{
    uint64_t end = world.now_us / 1000 + ms;
    while (world.now_us / 1000 < end) {
        uint64_t now = world.now_us / 1000;
        uint64_t step = timer_wheel_wait(world.wheel, now, end - now);
        now += step == 0 ? 1 : step;
        world.now_us = now * 1000;
        timer_wheel_run(world.wheel, now);
    }
}

void world_advance_to_next(uint64_t ms)
{
    uint64_t end = world.now_us / 1000 + ms;
    while (world.sent_seen == world.sent_count && world.now_us / 1000 < end)
        world_advance(1);
}

void world_device_sends(const uint8_t *data, size_t len)
{
    coap_from_device(world.coap, &world.device, data, len, world.now_us);
}

static void event(enum io_event_type type, io_id id, const uint8_t *data, size_t len)
{
    uint8_t copy[IO_DATAGRAM_MAX];
    if (world.sockets[id] == NULL || len > sizeof copy)
        return;
    if (len > 0)
        memcpy(copy, data, len);
    const struct io_event one = {.type = type, .id = id, .user = world.sockets[id], .data = copy, .len = len};
    coap_from_upstream(world.coap, &one, world.now_us);
}

void world_cse_sends(io_id id, const uint8_t *data, size_t len)
{
    event(IO_DATAGRAM, id, data, len);
}

void world_cse_error(io_id id)
{
    event(IO_DATAGRAM_ERROR, id, NULL, 0);
}

const struct world_message *world_next(void)
{
    if (world.sent_seen == world.sent_count)
        return NULL;
    if (world.sent_count - world.sent_seen > WORLD_SENT_MAX)
        world.sent_seen = world.sent_count - WORLD_SENT_MAX;
    return &world.sent[world.sent_seen++ % WORLD_SENT_MAX];
}

void world_device_gone(void)
{
    coap_device_gone(world.coap, &world.device, world.now_us);
}
