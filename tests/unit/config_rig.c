// Configurations in a folder of their own, loaded and compared.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/config_rig.h"

#include "common/error.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char rig_folder[] = "/tmp/sagate-config-XXXXXX";

void rig_path(const char *name, char out[256])
{
    (void)snprintf(out, 256, "%s/%s", rig_folder, name);
}

void rig_put(const char *name, const char *content, mode_t mode)
{
    char path[256];
    rig_path(name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    CU_ASSERT_EQUAL(fchmod(fd, mode), 0);
    close(fd);
}

int rig_load(const char *content, struct config **config, struct config_errors *errors)
{
    char path[256];
    rig_path("sagate.conf", path);
    rig_put("sagate.conf", content, 0644);
    return config_load(path, config, errors);
}

static void same_text(const char *a, const char *b)
{
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_PTR_NOT_NULL_FATAL(b);
    CU_ASSERT_STRING_EQUAL(a, b);
}

static void same_texts(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
    CU_ASSERT_EQUAL_FATAL(a_count, b_count);
    for (size_t i = 0; i < a_count; i++)
        same_text(a[i], b[i]);
}

static void same_address(const struct address *a, const struct address *b)
{
    CU_ASSERT_EQUAL_FATAL(a->len, b->len);
    if (a->len != 0)
        CU_ASSERT_TRUE(address_equal(a, b));
}

static void same_upstream(const struct config_upstream *a, const struct config_upstream *b)
{
    same_text(a->name, b->name);
    same_text(a->sp_id, b->sp_id);
    same_text(a->cse_id, b->cse_id);
    CU_ASSERT_EQUAL(a->http_identity, b->http_identity);
    CU_ASSERT_EQUAL(a->coap_identity, b->coap_identity);
    CU_ASSERT_EQUAL(a->coap_numbering, b->coap_numbering);
    CU_ASSERT_EQUAL(a->from_form, b->from_form);
    same_text(a->authorization, b->authorization);
    same_texts(a->full_access_originators, a->full_access_count, b->full_access_originators, b->full_access_count);
    CU_ASSERT_EQUAL(a->request_id_bytes, b->request_id_bytes);
    CU_ASSERT_EQUAL(a->request_milliseconds, b->request_milliseconds);
    CU_ASSERT_EQUAL(a->requests, b->requests);
    CU_ASSERT_EQUAL(a->connections, b->connections);
    CU_ASSERT_EQUAL(a->connection_idle_seconds, b->connection_idle_seconds);
    CU_ASSERT_EQUAL(a->coap_source_ports, b->coap_source_ports);
    CU_ASSERT_EQUAL(a->http_health, b->http_health);
    CU_ASSERT_EQUAL(a->coap_health, b->coap_health);
    same_text(a->health_path, b->health_path);
    same_text(a->health_originator, b->health_originator);
    CU_ASSERT_EQUAL(a->health_seconds, b->health_seconds);
    CU_ASSERT_EQUAL(a->health_timeout_milliseconds, b->health_timeout_milliseconds);
    CU_ASSERT_EQUAL(a->health_rise, b->health_rise);
    CU_ASSERT_EQUAL(a->health_fall, b->health_fall);
    CU_ASSERT_EQUAL(a->registration_substitute, b->registration_substitute);
    CU_ASSERT_EQUAL_FATAL(a->server_count, b->server_count);
    for (size_t i = 0; i < a->server_count; i++) {
        same_text(a->servers[i].name, b->servers[i].name);
        CU_ASSERT_EQUAL(a->servers[i].number, b->servers[i].number);
        CU_ASSERT_EQUAL(a->servers[i].weight, b->servers[i].weight);
        CU_ASSERT_EQUAL(a->servers[i].has_http, b->servers[i].has_http);
        CU_ASSERT_EQUAL(a->servers[i].has_coap, b->servers[i].has_coap);
        same_address(&a->servers[i].http, &b->servers[i].http);
        same_address(&a->servers[i].coap, &b->servers[i].coap);
    }
}

static void same_listener(const struct config_listener *a, const struct config_listener *b)
{
    same_text(a->name, b->name);
    CU_ASSERT_EQUAL(a->transport, b->transport);
    CU_ASSERT_EQUAL(a->binding, b->binding);
    same_address(&a->address, &b->address);
    CU_ASSERT_EQUAL(a->upstream, b->upstream);
    CU_ASSERT_EQUAL(a->psk, b->psk);
    CU_ASSERT_EQUAL_FATAL(a->certificate_count, b->certificate_count);
    for (size_t i = 0; i < a->certificate_count; i++)
        CU_ASSERT_EQUAL(a->certificates[i], b->certificates[i]);
    CU_ASSERT_EQUAL(a->client_certificates, b->client_certificates);
    CU_ASSERT_EQUAL_FATAL(a->trust_anchor_count, b->trust_anchor_count);
    for (size_t i = 0; i < a->trust_anchor_count; i++)
        CU_ASSERT_EQUAL(a->trust_anchors[i], b->trust_anchors[i]);
    CU_ASSERT_EQUAL(a->unknown_server_name_refused, b->unknown_server_name_refused);
    CU_ASSERT_EQUAL(a->version_min, b->version_min);
    CU_ASSERT_EQUAL(a->version_max, b->version_max);
    CU_ASSERT_EQUAL(a->coap_numbering, b->coap_numbering);
    same_text(a->release_version_default, b->release_version_default);
}

void rig_same_tef(const struct config_tef *a, const struct config_tef *b)
{
    same_text(a->name, b->name);
    CU_ASSERT_EQUAL(a->kind, b->kind);
    CU_ASSERT_EQUAL(a->coap, b->coap);
    same_text(a->fqdn, b->fqdn);
    same_address(&a->address, &b->address);
    CU_ASSERT_EQUAL(a->upstream, b->upstream);
    same_text(a->admin_fqdn, b->admin_fqdn);
    CU_ASSERT_EQUAL(a->admin_checked, b->admin_checked);
    CU_ASSERT_EQUAL(a->targets_required, b->targets_required);
    CU_ASSERT_EQUAL(a->first_half, b->first_half);
    CU_ASSERT_EQUAL(a->register_client, b->register_client);
    same_text(a->psk_identity, b->psk_identity);
    same_text(a->psk, b->psk);
    CU_ASSERT_EQUAL(a->certificate, b->certificate);
    CU_ASSERT_EQUAL_FATAL(a->trust_anchor_count, b->trust_anchor_count);
    for (size_t i = 0; i < a->trust_anchor_count; i++)
        CU_ASSERT_EQUAL(a->trust_anchors[i], b->trust_anchors[i]);
    CU_ASSERT_EQUAL(a->connections, b->connections);
    CU_ASSERT_EQUAL(a->requests_per_connection, b->requests_per_connection);
    CU_ASSERT_EQUAL(a->timeout_milliseconds, b->timeout_milliseconds);
    CU_ASSERT_EQUAL(a->registration_seconds, b->registration_seconds);
    const struct tef_profile *left = &a->profile, *right = &b->profile;
    char *const texts[][2] = {{left->registration_path, right->registration_path},
                              {left->key_path, right->key_path},
                              {left->registration_root, right->registration_root},
                              {left->key_root, right->key_root},
                              {left->expiration_time, right->expiration_time},
                              {left->labels, right->labels},
                              {left->admin_fqdn, right->admin_fqdn},
                              {left->suid, right->suid},
                              {left->target_ids, right->target_ids},
                              {left->source_id, right->source_id},
                              {left->key_value, right->key_value},
                              {left->relative_key_id, right->relative_key_id},
                              {left->resource_id, right->resource_id}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        same_text(texts[i][0], texts[i][1]);
    CU_ASSERT_EQUAL(left->registration_type, right->registration_type);
    CU_ASSERT_EQUAL(left->key_type, right->key_type);
    CU_ASSERT_EQUAL(left->encoding, right->encoding);
    CU_ASSERT_EQUAL(left->method, right->method);
}

static void same_config(const struct config *a, const struct config *b)
{
    same_text(a->process.user, b->process.user);
    same_text(a->process.control_user, b->process.control_user);
    same_text(a->process.state_directory, b->process.state_directory);
    CU_ASSERT_EQUAL(a->process.workers, b->process.workers);
    CU_ASSERT_EQUAL(a->process.pin_workers, b->process.pin_workers);
    CU_ASSERT_EQUAL(a->process.control_nice, b->process.control_nice);
    CU_ASSERT_EQUAL(a->process.lock_memory, b->process.lock_memory);
    CU_ASSERT_EQUAL(a->process.log_level, b->process.log_level);
    CU_ASSERT_EQUAL(memcmp(&a->limits, &b->limits, sizeof a->limits), 0);
    CU_ASSERT_EQUAL_FATAL(a->certificate_count, b->certificate_count);
    for (size_t i = 0; i < a->certificate_count; i++) {
        const struct config_certificate *left = &a->certificates[i], *right = &b->certificates[i];
        same_text(left->name, right->name);
        same_text(left->chain_file, right->chain_file);
        same_text(left->key_file, right->key_file);
        same_texts(left->server_names, left->server_name_count, right->server_names, right->server_name_count);
    }
    CU_ASSERT_EQUAL_FATAL(a->trust_anchor_count, b->trust_anchor_count);
    for (size_t i = 0; i < a->trust_anchor_count; i++) {
        same_text(a->trust_anchors[i].name, b->trust_anchors[i].name);
        same_text(a->trust_anchors[i].file, b->trust_anchors[i].file);
    }
    CU_ASSERT_EQUAL_FATAL(a->upstream_count, b->upstream_count);
    for (size_t i = 0; i < a->upstream_count; i++)
        same_upstream(&a->upstreams[i], &b->upstreams[i]);
    CU_ASSERT_EQUAL_FATAL(a->listener_count, b->listener_count);
    for (size_t i = 0; i < a->listener_count; i++)
        same_listener(&a->listeners[i], &b->listeners[i]);
    CU_ASSERT_EQUAL_FATAL(a->tef_count, b->tef_count);
    for (size_t i = 0; i < a->tef_count; i++)
        rig_same_tef(&a->tefs[i], &b->tefs[i]);
    CU_ASSERT_EQUAL(memcmp(&a->resolver, &b->resolver, sizeof a->resolver), 0);
    CU_ASSERT_EQUAL(
        memcmp(&a->minimum_protection_level, &b->minimum_protection_level, sizeof a->minimum_protection_level), 0);
    same_text(a->credentials_file, b->credentials_file);
    same_text(a->control_socket, b->control_socket);
    CU_ASSERT_EQUAL(a->control_socket_mode, b->control_socket_mode);
    same_text(a->control_socket_group, b->control_socket_group);
    same_address(&a->metrics, &b->metrics);
    same_text(a->text, b->text);
}

// Loads what must be right, and takes it through the other processes twice.
struct config *rig_good(const char *content)
{
    struct config *config = NULL, *second = NULL, *third = NULL;
    struct config_errors errors;
    int result = rig_load(content, &config, &errors);
    if (result != SAGATE_OK)
        printf("\n%s\n", errors.text);
    CU_ASSERT_EQUAL_FATAL(result, SAGATE_OK);
    CU_ASSERT_PTR_NULL(errors.text);
    CU_ASSERT_EQUAL_FATAL(config_parse(config->text, &second, &errors), SAGATE_OK);
    CU_ASSERT_EQUAL_FATAL(config_parse(second->text, &third, &errors), SAGATE_OK);
    same_config(config, second);
    same_config(config, third);
    config_free(second);
    config_free(third);
    return config;
}

// Loads what must be refused; the errors must hold `expected`. Returns their number.
size_t rig_bad(const char *content, const char *expected)
{
    struct config *config = NULL;
    struct config_errors errors;
    CU_ASSERT_EQUAL(rig_load(content, &config, &errors), SAGATE_ECONFIG);
    CU_ASSERT_PTR_NULL(config);
    CU_ASSERT_PTR_NOT_NULL_FATAL(errors.text);
    bool holds = strstr(errors.text, expected) != NULL;
    if (!holds)
        printf("\nexpected: %s\nfound: %s\n", expected, errors.text);
    CU_ASSERT_TRUE(holds);
    size_t count = errors.count;
    config_errors_free(&errors);
    CU_ASSERT_PTR_NULL(errors.text);
    config_free(config);
    return count;
}

// libconfig 1.5 loses the strings of a list that a syntax error cuts short.
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

int rig_main(const char *suite, const struct unit_test *tests, size_t count)
{
    if (mkdtemp(rig_folder) == NULL)
        return EXIT_FAILURE;
    int result = unit_main(suite, tests, count);
    static const char *const files[] = {"sagate.conf", "auth", "up.conf", "li.conf"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[256];
        rig_path(files[i], path);
        (void)unlink(path);
    }
    (void)rmdir(rig_folder);
    return result;
}
