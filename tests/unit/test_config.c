// The configuration: what is read, what is refused and with which words, and that its text survives the way to the
// other processes.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "tests/unit/config_rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void smallest_has_defaults(void)
{
    struct config *config = rig_good(UPSTREAMS LISTENERS);
    char path[256];
    rig_path("credentials.conf", path);
    CU_ASSERT_STRING_EQUAL(config->credentials_file, path);
    CU_ASSERT_STRING_EQUAL(config->process.user, "nobody");
    CU_ASSERT_TRUE(config->process.workers >= 1 && config->process.workers <= CONFIG_WORKERS_MAX);
    CU_ASSERT_EQUAL(config->limits.coap_exchange_bytes, 64U << 20);
    CU_ASSERT_EQUAL(config->limits.content_depth, 32);
    CU_ASSERT_EQUAL(config->limits.session_ticket_seconds, 7200);
    CU_ASSERT_EQUAL(config->control_socket_mode, 0660);
    CU_ASSERT_EQUAL(config->upstreams[0].full_access_count, 4);
    CU_ASSERT_STRING_EQUAL(config->upstreams[0].authorization, "");
    CU_ASSERT_EQUAL(config->limits.connection_id_bytes, 8);
    CU_ASSERT_EQUAL(config->listeners[0].version_min, CONFIG_TLS_1_2);
    CU_ASSERT_EQUAL(config->listeners[0].version_max, CONFIG_TLS_1_3);
    CU_ASSERT_EQUAL(ntohs(config->listeners[0].address.v4.sin_port), 5684);
    char text[ADDRESS_TEXT_MAX];
    CU_ASSERT_STRING_EQUAL(address_format(&config->metrics, text), "127.0.0.1:9464");
    CU_ASSERT_STRING_EQUAL(address_format(&config->upstreams[0].servers[0].coap, text), "[::1]:5683");
    config_free(config);
    config = rig_good(UPSTREAMS "listeners = ( " HTTPS("address = \"::\";") " ); metrics = { port = 0; };");
    CU_ASSERT_EQUAL(config->listeners[0].version_max, CONFIG_TLS_1_3);
    CU_ASSERT_STRING_EQUAL(address_format(&config->listeners[0].address, text), "[::]:443");
    CU_ASSERT_EQUAL(config->metrics.len, 0);
    config_free(config);
}

// A default that is larger than what is set beside it is lowered to that.
static void defaults_follow_what_is_set(void)
{
    struct config *config = rig_good(
        "limits: { handshakes = 10; handshake_seconds = 1; http_body_bytes = 2000; };\n"
        "upstreams = ( { name = \"in\"; sp_id = \"//sp.example\"; cse_id = \"/id-in\"; health_seconds = 1; " SERVERS
        " }, { name = \"b\"; sp_id = \"//b.example\"; cse_id = \"/b\"; " SERVERS " } );\n" LISTENERS);
    CU_ASSERT_EQUAL(config->limits.parked, 10);
    CU_ASSERT_EQUAL(config->limits.parked_milliseconds, 1000);
    CU_ASSERT_EQUAL(config->limits.http_body_buffer_bytes, 2000);
    CU_ASSERT_EQUAL(config->upstreams[0].health_timeout_milliseconds, 1000);
    CU_ASSERT_EQUAL(config->upstreams[1].health_timeout_milliseconds, 2000);
    config_free(config);
    config = rig_good(
        "limits: { handshakes = 10000; handshake_seconds = 600; http_body_bytes = 16777216; };\n" UPSTREAMS LISTENERS);
    CU_ASSERT_EQUAL(config->limits.parked, 1024);
    CU_ASSERT_EQUAL(config->limits.parked_milliseconds, 5000);
    CU_ASSERT_EQUAL(config->limits.http_body_buffer_bytes, 65536);
    config_free(config);
}

static const char everything[] =
    "process: { user = \"\"; control_user = \"sg_ctl\"; state_directory = \"st\303\244te \\\"x\\\" \\\\\"; workers = "
    "3;\n"
    "  pin_workers = false; control_nice = 3; lock_memory = false; log_level = \"debug\"; };\n"
    "limits: { handshakes = 11; handshake_seconds = 12; parked = 10; parked_milliseconds = 14; associations = 15;\n"
    "  association_idle_seconds = 16; associations_per_identity = 0; eviction_idle_seconds = 23; connection_id_bytes = "
    "5; session_ticket_seconds = 0; connections = 17; "
    "requests_per_association = 18;\n"
    "  coap_exchange_bytes = 4000000000; observations_per_association = 0; http_head_bytes = 2048;\n"
    "  http_head_seconds = 19; http_idle_seconds = 20; http_body_seconds = 21; http_body_buffer_bytes = 2049;\n"
    "  http_body_bytes = 3000; content_depth = 22; };\n"
    "certificates = ( { name = \"a\"; chain_file = \"a.pem\"; key_file = \"/k/a.pem\"; },\n"
    "  { name = \"b\"; chain_file = \"b.pem\"; key_file = \"b.key\"; server_names = ( \"In.SP.example\", \"b.example\" "
    "); } );\n"
    "trust_anchors = ( { name = \"x\"; file = \"x.pem\"; }, { name = \"y\"; file = \"/k/y.pem\"; } );\n"
    "upstreams = ( " UPSTREAM ",\n"
    "  { name = \"other\"; sp_id = \"//other.example\"; cse_id = \"/Mobius2\"; http_identity = \"proxy_v2\";\n"
    "    coap_identity = \"none\"; coap_numbering = \"old\"; from_form = \"absolute\"; authorization_file = \"auth\";\n"
    "    full_access_originators = []; request_id_bytes = 100; request_milliseconds = 200; requests = 300;\n"
    "    connections = 40; connection_idle_seconds = 50; coap_source_ports = 6; http_health = \"connect\";\n"
    "    coap_health = \"request\"; health_path = \"/~/x?rcn=0\"; health_originator = \"/id-in/Cx\"; health_seconds = "
    "7;\n"
    "    health_timeout_milliseconds = 800; health_rise = 9; health_fall = 10; registration_substitute = false;\n"
    "    servers = ( { name = \"s\"; http = \"[::1]:80\"; weight = 100; }, { name = \"t\"; coap = \"10.0.0.1:1\"; } ); "
    "} );\n"
    "listeners = ( " COAPS ",\n"
    "  { name = \"h\"; transport = \"tls\"; binding = \"http\"; address = \"[::1]\"; port = 8443; upstream = "
    "\"other\";\n"
    "    psk = false; certificates = [ \"b\", \"a\" ]; unknown_server_name = \"refuse\"; version_min = \"1.3\";\n"
    "    client_certificates = \"required\"; trust_anchors = [ \"y\", \"x\" ]; release_version_default = \"2a\"; },\n"
    "  { name = \"c\"; transport = \"dtls\"; binding = \"coap\"; port = 5685; upstream = \"other\"; coap_numbering = "
    "\"old\"; } );\n"
    "mafs = ( { name = \"m1\"; binding = \"http\"; fqdn = \"MAF.sp.Example\"; address = \"::1\"; port = 7; upstream = "
    "\"other\";\n"
    "    admin_fqdn = \"Admin.example\"; admin_checked = true; targets_required = true; first_half = true; register = "
    "false;\n"
    "    psk_identity = \"K m@maf\"; psk = \"file:keys/m \\\"1\\\"\"; connections = 1; requests_per_connection = 2;\n"
    "    timeout_milliseconds = 30; registration_seconds = 60;\n"
    "    profile = { registration_path = \"/r\"; key_path = \"\"; registration_type = 3; key_type = 4;\n"
    "      registration_root = \"a:b\"; key_root = \"c\"; expiration_time = \"d\"; labels = \"e\"; admin_fqdn = "
    "\"f\";\n"
    "      suid = \"g\"; target_ids = \"h\"; source_id = \"i\"; key_value = \"j\"; relative_key_id = \"k\";\n"
    "      resource_id = \"l\"; encoding = \"hex\"; }; },\n"
    "  { name = \"m2\"; fqdn = \"m2\"; address = \"192.0.2.1\"; upstream = \"in\"; admin_fqdn = \"a\"; psk_identity = "
    "\"i\";\n"
    "    psk = \"pkcs11:object=km?pin-value=sesame\"; } );\n"
    "mefs = ( { name = \"e1\"; fqdn = \"e1\"; address = \"192.0.2.1\"; upstream = \"in\"; admin_fqdn = \"a\";\n"
    "    certificate = \"b\"; trust_anchors = [ \"y\", \"x\" ];\n"
    "    profile = { method = \"fetch_credentials\"; encoding = \"base64\"; }; } );\n"
    "resolver: { waiting = 1; cached = 2; deadline_milliseconds = 13; negative_seconds = 0; cache_seconds = 5; };\n"
    "minimum_protection_level: { credentials = 2; tef_keys = 1; private_keys = 1; };\n"
    "credentials_file = \"\";\n"
    "control: { socket = \"c.sock\"; socket_mode = \"600\"; socket_group = \"adm\"; };\n"
    "metrics: { address = \"::1\"; port = 1; };\n";

static void tefs_are_read(const struct config *config)
{
    char reference[300];
    (void)snprintf(reference, sizeof reference, "file:%s/keys/m \"1\"", rig_folder);
    CU_ASSERT_EQUAL_FATAL(config->tef_count, 3);
    const struct config_tef *maf = &config->tefs[0], *plain = &config->tefs[1], *mef = &config->tefs[2];
    CU_ASSERT_TRUE(maf->kind == TEF_MAF && plain->kind == TEF_MAF && mef->kind == TEF_MEF);
    CU_ASSERT_TRUE(!maf->coap && !plain->coap && !mef->coap);
    CU_ASSERT_STRING_EQUAL(maf->fqdn, "maf.sp.example");
    CU_ASSERT_STRING_EQUAL(maf->psk, reference);
    CU_ASSERT_STRING_EQUAL(maf->psk_identity, "K m@maf");
    CU_ASSERT_EQUAL(ntohs(maf->address.v6.sin6_port), 7);
    CU_ASSERT_EQUAL(maf->upstream, 1);
    CU_ASSERT_TRUE(maf->admin_checked && maf->targets_required && maf->first_half && !maf->register_client);
    CU_ASSERT_STRING_EQUAL(maf->profile.key_path, "");
    CU_ASSERT_STRING_EQUAL(maf->profile.resource_id, "l");
    CU_ASSERT_EQUAL(maf->profile.registration_type, 3);
    CU_ASSERT_EQUAL(maf->profile.encoding, TEF_ENCODING_HEX);
    CU_ASSERT_EQUAL(ntohs(plain->address.v4.sin_port), 443);
    CU_ASSERT_TRUE(plain->register_client && !plain->admin_checked && !plain->targets_required && !plain->first_half);
    CU_ASSERT_EQUAL(plain->connections, 4);
    CU_ASSERT_EQUAL(plain->requests_per_connection, 8);
    CU_ASSERT_EQUAL(plain->timeout_milliseconds, 2000);
    CU_ASSERT_EQUAL(plain->registration_seconds, 86400);
    // As the defaults of profile.h, but for the kind.
    struct config_tef preset = *plain;
    preset.profile = *tef_profile_default(TEF_MAF);
    rig_same_tef(plain, &preset);
    CU_ASSERT_STRING_EQUAL(plain->profile.registration_root, "sec:mafClientReg");
    CU_ASSERT_STRING_EQUAL(mef->profile.registration_root, "sec:mefClientReg");
    CU_ASSERT_EQUAL(mef->profile.method, TEF_METHOD_FETCH_CREDENTIALS);
    CU_ASSERT_EQUAL(mef->certificate, 1);
    CU_ASSERT_EQUAL_FATAL(mef->trust_anchor_count, 2);
    CU_ASSERT_EQUAL(mef->trust_anchors[0], 1);
    CU_ASSERT_EQUAL(config->resolver.deadline_milliseconds, 13);
    CU_ASSERT_EQUAL(config->minimum_protection_level.credentials, 2);
    struct config_tef_place place = config_tef_place(config, 2);
    CU_ASSERT_STRING_EQUAL(place.list, "mefs");
    CU_ASSERT_EQUAL(place.index, 0);
}

static void everything_is_read(void)
{
    rig_put("auth", "Bearer very-secret-token\n", 0600);
    struct config *config = rig_good(everything);
    char path[300];
    (void)snprintf(path, sizeof path, "%s/st\303\244te \"x\" \\", rig_folder);
    CU_ASSERT_STRING_EQUAL(config->process.state_directory, path);
    CU_ASSERT_EQUAL(config->limits.coap_exchange_bytes, 4000000000U);
    CU_ASSERT_EQUAL(config->limits.associations_per_identity, 0);
    CU_ASSERT_EQUAL(config->limits.eviction_idle_seconds, 23);
    CU_ASSERT_FALSE(config->process.lock_memory);
    CU_ASSERT_EQUAL(config->limits.session_ticket_seconds, 0);
    CU_ASSERT_STRING_EQUAL(config->certificates[1].server_names[0], "in.sp.example");
    CU_ASSERT_STRING_EQUAL(config->certificates[0].key_file, "/k/a.pem");
    CU_ASSERT_STRING_EQUAL(config->upstreams[1].authorization, "Bearer very-secret-token");
    CU_ASSERT_EQUAL(config->upstreams[1].full_access_count, 0);
    CU_ASSERT_EQUAL(config->upstreams[1].servers[1].number, 2);
    CU_ASSERT_EQUAL(config->listeners[1].certificates[0], 1);
    CU_ASSERT_STRING_EQUAL(config->trust_anchors[1].file, "/k/y.pem");
    CU_ASSERT_EQUAL(config->listeners[0].client_certificates, CONFIG_CLIENT_CERTIFICATES_NONE);
    CU_ASSERT_EQUAL(config->listeners[1].client_certificates, CONFIG_CLIENT_CERTIFICATES_REQUIRED);
    CU_ASSERT_EQUAL_FATAL(config->listeners[1].trust_anchor_count, 2);
    CU_ASSERT_EQUAL(config->listeners[1].trust_anchors[0], 1);
    CU_ASSERT_EQUAL(config->listeners[1].version_min, CONFIG_TLS_1_3);
    CU_ASSERT_TRUE(config->listeners[1].unknown_server_name_refused);
    CU_ASSERT_EQUAL(config->control_socket_mode, 0600);
    CU_ASSERT_STRING_EQUAL(config->credentials_file, "");
    tefs_are_read(config);
    char *description = config_describe(config);
    CU_ASSERT_PTR_NOT_NULL_FATAL(description);
    static const char *const told[] = {
        "data process: user unchanged, 3 workers",
        "listener h: HTTP over TLS 1.3 on [::1]:8443 (TCP), to upstream other",
        "certificate b (default) for in.sp.example b.example, certificate a",
        "unknown server name: refused",
        "listener coaps: CoAP over DTLS 1.2 to 1.3 on 0.0.0.0:5684 (UDP), to upstream in",
        "DTLS Connection IDs: 5 bytes",
        "with an Authorization header of its own",
        "server t: weight 1, CoAP 10.0.0.1:1",
        "metrics: http://[::1]:1",
        "MAF m1: maf.sp.example at [::1]:7 over HTTP and TLS, for upstream other",
        "pre-shared key of i from a ",
        "MEF e1: e1 at 192.0.2.1:443 over HTTP and TLS",
        "certificate b; the MEF is verified with y, x",
        "fetched by fetchCredentials",
        "keys towards MAFs and MEFs 1"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        CU_ASSERT_PTR_NOT_NULL(strstr(description, told[i]));
    CU_ASSERT_PTR_NULL(strstr(description, "very-secret-token"));
    CU_ASSERT_PTR_NULL(strstr(description, "sesame"));
    free(description);
    config_free(config);
}

static void wrong_values_are_named(void)
{
    static const char *const cases[][2] = {
        {"\nlimits: { handshake_seconds = \"10s\"; };", "sagate.conf:4: setting 'limits.handshake_seconds': found the "
                                                        "string \"10s\", expected an integer from 1 to 600 "
                                                        "(unit: seconds, as the name says); write 10"},
        {"limits: { parked_milliseconds = \"2 s\"; };", "; write 2000"},
        {"limits: { coap_exchange_bytes = \"64MiB\"; };", "; write 67108864"},
        {"limits: { handshakes = \"100\"; };", "; write 100 without quotes"},
        {"limits: { handshake_seconds = \"10MiB\"; };", "as the name says)"},
        {"limits: { handshake_milliseconds = 10; };",
         "'limits.handshake_milliseconds': unknown setting; did you mean 'handshake_seconds' (its unit is seconds)?"},
        {"limits: { asociations = 10; };", "unknown setting; did you mean 'associations'?"},
        {"limits: { log_level = \"info\"; };", "unknown setting; did you mean the one in 'process'?"},
        {"limit: { };", "setting 'limit': unknown setting; did you mean 'limits'?"},
        {"completely_else = 1;", "setting 'completely_else': unknown setting"},
        {"limits: { handshakes = 1.5; };", "found the floating-point number 1.5, expected an integer"},
        {"limits: { handshakes = -1; };", "found the integer -1, expected an integer from 1 to 1000000"},
        {"limits: { handshakes = 99999999999; };", "found the integer 99999999999, expected"},
        {"limits: { handshakes = 4294967301; };", "found the integer 4294967301, expected"},
        {"limits: { handshakes = -99999999999999999999; };", "found the integer -9223372036854775808, expected"},
        {"limits: { handshakes = 0x10; };", "found a hexadecimal number, expected"},
        {"limits: { handshakes = true; };", "found the boolean true, expected an integer"},
        {"limits: { content_depth = 65; };", "expected an integer from 4 to 64"},
        {"limits: { connection_id_bytes = 3; };", "'limits.connection_id_bytes': found 3, expected 0 (none) or 4 to 8"},
        {"limits: { connection_id_bytes = 9; };", "expected an integer from 0 to 8"},
        {"limits = 5;", "setting 'limits': found the integer 5, expected a group"},
        {"process: { pin_workers = 1; };", "expected true or false"},
        {"process: { lock_memory = \"yes\"; };", "expected true or false"},
        {"limits: { associations_per_identity = -1; };", "expected an integer from 0 to 10000000"},
        {"limits: { eviction_idle_seconds = 31536001; };", "expected an integer from 0 to 31536000"},
        {"process: { log_level = \"loud\"; };",
         "found the string \"loud\", expected \"error\" or \"warning\" or \"info\" or \"debug\""},
        {"process: { user = \"a b\"; };", "found the string \"a b\", expected a user name, or \"\" for none"},
        {"process: { workers = 65; };", "expected an integer from 0 to 64"},
        {"process: { state_directory = \"\"; };", "expected a path"},
        {"limits: { parked = 5000; };", "'limits.parked': found 5000, expected at most 'handshakes', which is 4096"},
        {"limits: { handshakes = 10; parked = 11; };", "'limits.parked': found 11, expected at most 'handshakes'"},
        {"limits: { handshake_seconds = 1; parked_milliseconds = 1001; };",
         "'limits.parked_milliseconds': found 1001, expected at most 'handshake_seconds', which is 1000 milliseconds"},
        {"limits: { http_body_bytes = 2000; http_body_buffer_bytes = 2001; };",
         "'limits.http_body_buffer_bytes': found 2001, expected at most 'http_body_bytes', which is 2000"},
        {"control: { socket_mode = 0660; };", "'control.socket_mode': found the integer 660, expected an octal mode"},
        {"control: { socket_mode = \"0666\"; };", "gives others nothing"},
        {"metrics: { address = \"localhost\"; };",
         "'metrics.address': found the string \"localhost\", expected a numeric"},
        {"certificates = ( );", "setting 'certificates': the list is empty"},
        {"certificates = ( 5 );", "setting 'certificates[0]': found the integer 5, expected a group"},
        {"certificates = ( { name = \"x\"; key_file = \"k\"; } );",
         "setting 'certificates[0].chain_file': missing; expected a path"},
        {"certificates = ( { name = \"x\"; chain_file = \"c\"; key_file = \"k\"; server_names = [ \"*.x\" ]; } );",
         "setting 'certificates[0].server_names[0]': found the string \"*.x\", expected a host name without wildcard"},
        {"certificates = ( { name = \"x\"; chain_file = \"c\"; key_file = \"k\"; server_names = [ \"a\", \"a\" ]; } );",
         "the same entry stands in the list already"},
        {"certificates = ( { name = \"x\"; chain_file = \"c\"; key_file = \"k\"; },\n"
         "{ name = \"x\"; chain_file = \"c\"; key_file = \"k\"; } );",
         "sagate.conf:4: setting 'certificates[1].name': the name \"x\" is taken by certificates[0]"},
        {"trust_anchors = ( { name = \"x\"; } );", "setting 'trust_anchors[0].file': missing; expected a path"},
        {"trust_anchors = ( { name = \"x\"; file = \"a\"; },\n{ name = \"x\"; file = \"b\"; } );",
         "sagate.conf:4: setting 'trust_anchors[1].name': the name \"x\" is taken by trust_anchors[0]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[2048];
        (void)snprintf(text, sizeof text, "%s%s%s", UPSTREAMS, LISTENERS, cases[i][0]);
        CU_ASSERT_EQUAL(rig_bad(text, cases[i][1]), 1);
    }
}

static void wrong_upstreams_are_named(void)
{
#define START "{ name = \"in\"; sp_id = \"//sp.example\"; cse_id = \"/id-in\"; "
    static const char *const cases[][2] = {
        {START "servers = ( ); }", "setting 'upstreams[0].servers': the list is empty"},
        {START "}", "setting 'upstreams[0].servers': missing"},
        {START "servers = ( { name = \"s\"; } ); }", "'upstreams[0].servers[0]': the server has no address"},
        {START "servers = ( { name = \"s\"; http = \"localhost:80\"; coap = \"1.2.3.4:5\"; } ); }",
         "'upstreams[0].servers[0].http': found the string \"localhost:80\", expected a numeric address and a port"},
        {START "servers = ( { name = \"s\"; coap = \"1.2.3.4:5\"; weight = 0; } ); }",
         "'upstreams[0].servers[0].weight': found the integer 0, expected an integer from 1 to 100"},
        {START "servers = ( { name = \"s\"; coap = \"1.2.3.4:5\"; }, { name = \"s\"; coap = \"1.2.3.4:6\"; } ); }",
         "'upstreams[0].servers[1].name': the name \"s\" is taken by servers[0]"},
        {START "health_timeout_milliseconds = 5001; " SERVERS " }", "expected at most health_seconds, which is 5000"},
        {START "health_seconds = 1; health_timeout_milliseconds = 1001; " SERVERS " }",
         "'upstreams[0].health_timeout_milliseconds': found 1001, expected at most health_seconds, which is 1000"},
        {START "coap_numbering = \"both\"; " SERVERS " }", "expected \"current\" or \"old\""},
        {START "coap_identity = \"headers\"; " SERVERS " }", "expected \"options\" or \"none\""},
        {START "health_path = \"no\"; " SERVERS " }", "expected a path of at most 512 bytes"},
        {START "authorization = \"Basic x\"; " SERVERS " }", "unknown setting; did you mean 'authorization_file'?"},
        {"{ name = \"in\"; sp_id = \"sp.example\"; cse_id = \"/id-in\"; " SERVERS " }",
         "'upstreams[0].sp_id': found the string \"sp.example\", expected an SP-ID"},
        {"{ name = \"in\"; sp_id = \"//SP.example\"; cse_id = \"/id-in\"; " SERVERS " }", "expected an SP-ID"},
        {"{ name = \"in\"; sp_id = \"//a..b\"; cse_id = \"/id-in\"; " SERVERS " }", "expected an SP-ID"},
        {"{ name = \"in\"; sp_id = \"//a\"; cse_id = \"/id-in/x\"; " SERVERS " }", "expected an SP-relative CSE-ID"},
        {"{ name = \"in\"; cse_id = \"/id-in\"; " SERVERS " }", "'upstreams[0].sp_id': missing"},
        {UPSTREAM ", " UPSTREAM, "'upstreams[1].name': the name \"in\" is taken by upstreams[0]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[2048];
        (void)snprintf(text, sizeof text, "upstreams = ( %s );\n%s", cases[i][0], LISTENERS);
        CU_ASSERT_EQUAL(rig_bad(text, cases[i][1]), 1);
    }
    CU_ASSERT_EQUAL(rig_bad("", "setting 'upstreams': missing"), 2);
}

static void wrong_listeners_are_named(void)
{
#define DTLS(more) "{ name = \"d\"; transport = \"dtls\"; binding = \"coap\"; upstream = \"in\"; " more " }"
    static const char *const cases[][2] = {
        {DTLS("version_min = \"1.3\"; version_max = \"1.2\";"), "'listeners[0].version_min': found \"1.3\" above"},
        {HTTPS("version_min = \"1.3\"; version_max = \"1.2\";"), "'listeners[0].version_min': found \"1.3\" above"},
        {HTTPS("version_min = \"1.1\";"), "expected \"1.2\" or \"1.3\""},
        {HTTPS("coap_numbering = \"old\";"), "means nothing for binding \"http\""},
        {HTTPS("port = 70000;"), "'listeners[0].port': found the integer 70000, expected an integer from 1 to 65535"},
        {HTTPS("address = \"x\";"), "'listeners[0].address': found the string \"x\", expected a numeric"},
        {HTTPS("psk = false;"), "setting 'listeners[0]': the listener offers no credential"},
        {HTTPS("unknown_server_name = \"refuse\";"), "\"refuse\" needs certificates"},
        {HTTPS("certificates = [ ];"), "'listeners[0].certificates': the list is empty"},
        {HTTPS("certificates = [ \"a\", \"zz\" ];"),
         "'listeners[0].certificates[1]': the certificate \"zz\" is not defined"},
        {HTTPS("certificates = [ \"a\", \"b\" ];"),
         "'listeners[0].certificates[1]': the server name \"x.example\" of \"b\" is also one of \"a\""},
        {HTTPS("certificates = [ \"a\" ]; client_certificates = \"required\";"),
         "'listeners[0].client_certificates': certificates of devices cannot be verified; expected 'trust_anchors'"},
        {HTTPS("client_certificates = \"optional\"; trust_anchors = [ \"t\" ];"),
         "'listeners[0].client_certificates': a device shows a certificate only to a listener that has one"},
        {HTTPS("certificates = [ \"a\" ]; client_certificates = \"optional\"; trust_anchors = [ \"t\", \"zz\" ];"),
         "'listeners[0].trust_anchors[1]': the trust anchor \"zz\" is not defined in 'trust_anchors'"},
        {HTTPS("certificates = [ \"a\" ]; client_certificates = true; trust_anchors = [ \"t\" ];"),
         "'listeners[0].client_certificates': found the boolean true, expected \"none\" or \"optional\" or "
         "\"required\""},
        {"{ name = \"d\"; transport = \"dtls\"; binding = \"http\"; upstream = \"in\"; }",
         "'listeners[0].binding': found \"http\" over transport \"dtls\", expected \"coap\""},
        {"{ name = \"d\"; binding = \"http\"; upstream = \"in\"; }",
         "'listeners[0].transport': missing; expected \"dtls\" or \"tls\""},
        {"{ name = \"d\"; transport = \"tls\"; binding = \"http\"; upstream = \"inn\"; }",
         "'listeners[0].upstream': the upstream \"inn\" is not defined; defined: \"in\", \"coap-only\""},
        {"{ name = \"d\"; transport = \"tls\"; binding = \"http\"; upstream = \"coap-only\"; }",
         "no server of the upstream \"coap-only\" has an address for binding \"http\""},
        {DTLS("") ",\n" COAPS, "'listeners[1].port': 0.0.0.0:5684 over UDP collides with listeners[0] on 0.0.0.0:5684"},
        {DTLS("") ",\n{ name = \"e\"; transport = \"dtls\"; binding = \"coap\"; upstream = \"in\"; address = "
                  "\"127.0.0.1\"; }",
         "127.0.0.1:5684 over UDP collides with listeners[0] on 0.0.0.0:5684"},
        {DTLS("") ",\n" DTLS("port = 1;"), "'listeners[1].name': the name \"d\" is taken by listeners[0]"},
        {HTTPS("port = 9464;"), "collides with the metrics address 127.0.0.1:9464"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[4096];
        (void)snprintf(text, sizeof text,
                       "certificates = ( { name = \"a\"; chain_file = \"c\"; key_file = \"k\"; server_names = [ "
                       "\"x.example\" ]; },"
                       "{ name = \"b\"; chain_file = \"c\"; key_file = \"k\"; server_names = [ \"X.example\" ]; } );\n"
                       "trust_anchors = ( { name = \"t\"; file = \"t\"; } );\n"
                       "upstreams = ( %s, { name = \"coap-only\"; sp_id = \"//sp.example\"; cse_id = \"/id-in\";\n"
                       "servers = ( { name = \"s\"; coap = \"127.0.0.1:5683\"; } ); } );\nlisteners = ( %s );\n",
                       UPSTREAM, cases[i][0]);
        CU_ASSERT_EQUAL(rig_bad(text, cases[i][1]), 1);
    }
}

static void addresses_that_do_not_collide(void)
{
    struct config *config = rig_good(UPSTREAMS "listeners = ( " DTLS("") ", " HTTPS(
        "port = 5684;") ",\n"
                        "{ name = \"e\"; transport = \"dtls\"; binding = \"coap\"; upstream = \"in\"; address = "
                        "\"::\"; },\n"
                        "{ name = \"f\"; transport = \"dtls\"; binding = \"coap\"; upstream = \"in\"; address = "
                        "\"127.0.0.1\"; port = 1; },\n"
                        "{ name = \"g\"; transport = \"dtls\"; binding = \"coap\"; upstream = \"in\"; address = "
                        "\"127.0.0.2\"; port = 1; } );");
    CU_ASSERT_EQUAL(config->listener_count, 5);
    config_free(config);
}

static void every_error_is_told(void)
{
    CU_ASSERT_EQUAL(rig_bad("process: { workers = -1; usr = \"x\"; };\n" UPSTREAMS
                            "listeners = ( { name = \"\"; transport = 1; binding = \"x\"; port = 0; } );",
                            "setting 'listeners[0].port'"),
                    7);
    // Hundreds of them are counted, not shown.
    struct text text = {0};
    struct config *config = NULL;
    struct config_errors errors;
    for (int i = 0; i < 500; i++)
        text_add(&text, "wrong%d = 1;\n", i);
    CU_ASSERT_EQUAL(rig_load(text.data, &config, &errors), SAGATE_ECONFIG);
    CU_ASSERT_EQUAL(errors.count, 502);
    CU_ASSERT_PTR_NOT_NULL(strstr(errors.text, "further errors are not shown"));
    CU_ASSERT_PTR_NULL(strstr(errors.text, "wrong300"));
    config_errors_free(&errors);
    text_free(&text);
}

static void too_many_are_refused(void)
{
    struct text text = {0};
    text_add(&text, UPSTREAMS "listeners = ( ");
    for (int i = 0; i < 65; i++)
        text_add(&text, "%s{ name = \"l%d\"; transport = \"dtls\"; binding = \"coap\"; upstream = \"in\"; port = %d; }",
                 i == 0 ? "" : ",", i, 1000 + i);
    text_add(&text, " );");
    CU_ASSERT_EQUAL(rig_bad(text.data, "setting 'listeners': found 65 entries, expected at most 64"), 1);
    text_free(&text);
    text_add(&text,
             LISTENERS "upstreams = ( " UPSTREAM ", { name = \"b\"; sp_id = \"//b\"; cse_id = \"/b\"; servers = ( ");
    for (int i = 0; i < 64; i++)
        text_add(&text, "%s{ name = \"s%d\"; coap = \"127.0.0.1:1\"; }", i == 0 ? "" : ",", i);
    text_add(&text, " ); } );");
    CU_ASSERT_EQUAL(
        rig_bad(text.data, "'upstreams[1].servers': found 65 servers in all upstreams up to here, expected at most 64"),
        1);
    text_free(&text);
}

static void syntax_errors_have_a_place(void)
{
    CU_ASSERT_EQUAL(rig_bad("process: { };\nlimits: {\nhandshakes = = 5;\n};\n", "sagate.conf:3: syntax error"), 1);
    CU_ASSERT_EQUAL(rig_bad("limits: { };\nlimits: { };\n", "sagate.conf:2: duplicate setting name"), 1);
    CU_ASSERT_EQUAL(
        rig_bad("\n\nprocess: { user = \"nobody\n; };\n", "sagate.conf:3: the string that begins here never ends"), 1);
    CU_ASSERT_EQUAL(rig_bad("\n/* never\n", "sagate.conf:2: the comment that begins here never ends"), 1);
    struct config *config = rig_good(UPSTREAMS LISTENERS "# a comment without a line break at the end");
    config_free(config);
}

static void includes(void)
{
    char path[256], text[1024], expected[600];
    rig_put("up.conf", "\n" UPSTREAMS, 0644);
    rig_put("li.conf", "# listeners\n@include \"up.conf\"\n" LISTENERS, 0644);
    struct config *config = rig_good("/*\n@include \"comment\"\n*/\n  @include \"li.conf\" # both\nlimits = { };");
    CU_ASSERT_EQUAL(config->upstream_count, 1);
    config_free(config);
    rig_put("li.conf", "\n\nlisteners = ( " COAPS ",\n" DTLS("port = 0;") " );", 0644);
    rig_path("li.conf", path);
    (void)snprintf(expected, sizeof expected, "%s:4: setting 'listeners[1].port': found the integer 0", path);
    CU_ASSERT_EQUAL(rig_bad("@include \"li.conf\"\n" UPSTREAMS, expected), 2);
    (void)snprintf(text, sizeof text, "@include \"%s\"\n\nlimits: { x = 1; };\n%s", path, UPSTREAMS);
    CU_ASSERT_EQUAL(rig_bad(text, "sagate.conf:3: setting 'limits.x': unknown setting"), 3);
    CU_ASSERT_EQUAL(rig_bad("\n@include \"missing.conf\"\n", "sagate.conf:2: cannot include"), 1);
    CU_ASSERT_EQUAL(rig_bad("@include \"missing.conf\"\n", "No such file or directory"), 1);
    CU_ASSERT_EQUAL(rig_bad("@include \".\"\n", "it is no regular file"), 1);
    CU_ASSERT_EQUAL(rig_bad("@include missing\n", "sagate.conf:1: malformed @include"), 1);
    rig_put("li.conf", "@include \"li.conf\"\n", 0644);
    CU_ASSERT_EQUAL(rig_bad("@include \"li.conf\"\n", "the file includes itself"), 1);
    struct config_errors errors;
    CU_ASSERT_EQUAL(config_parse(" @include \"li.conf\"\n", &config, &errors), SAGATE_ECONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(errors.text, "configuration text:1: @include is not allowed here"));
    config_errors_free(&errors);
}

static void files_that_cannot_be_read(void)
{
    struct config *config = NULL;
    struct config_errors errors;
    static const char *const cases[][2] = {{"/nowhere/sagate.conf", "No such file or directory"},
                                           {"/dev/null", "it is no regular file"},
                                           {"/tmp", "it is no regular file"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CU_ASSERT_EQUAL(config_load(cases[i][0], &config, &errors), SAGATE_ECONFIG);
        CU_ASSERT_EQUAL(errors.count, 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(errors.text, cases[i][1]));
        config_errors_free(&errors);
    }
}

static void authorization_is_guarded(void)
{
#define AUTH UPSTREAM_AUTH LISTENERS
#define UPSTREAM_AUTH                                                                                     \
    "upstreams = ( { name = \"in\"; sp_id = \"//sp.example\"; cse_id = \"/id-in\"; authorization_file = " \
    "\"auth\"; " SERVERS " } );\n"
    rig_put("auth", "Basic c2FnYXRlOnNlY3JldA==", 0600);
    struct config *config = rig_good(AUTH);
    CU_ASSERT_STRING_EQUAL(config->upstreams[0].authorization, "Basic c2FnYXRlOnNlY3JldA==");
    config_free(config);
    rig_put("auth", "Basic c2FnYXRlOnNlY3JldA==", 0640);
    CU_ASSERT_EQUAL(rig_bad(AUTH, "chmod 600"), 1);
    rig_put("auth", "Basic one\nBasic two\n", 0600);
    CU_ASSERT_EQUAL(rig_bad(AUTH, "is not one line with the value of an Authorization header"), 1);
    rig_put("auth", "nothing", 0600);
    CU_ASSERT_EQUAL(rig_bad(AUTH, "is not one line"), 1);
    char path[256];
    rig_path("auth", path);
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_EQUAL(rig_bad(AUTH, "'upstreams[0].authorization_file': cannot read"), 1);
}

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    char *text = calloc(1, 1 << 18);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    CU_ASSERT_TRUE(fread(text, 1, (1 << 18) - 1, file) > 0);
    (void)fclose(file);
    return text;
}

static void example_of_tefs_says_the_defaults(const struct config *example)
{
    struct config *plain = rig_good(UPSTREAMS LISTENERS MAFS(TEF(ADMIN KEY)) MEFS(
        "{ name = \"e\"; fqdn = \"e.example\"; address = \"::1\"; upstream = \"in\"; register = false; " KEY "}"));
    for (size_t i = 0; i < 2; i++) {
        const struct config_tef *written = &example->tefs[i];
        struct config_tef expected = plain->tefs[i];
        // What has no default.
        expected.name = written->name;
        expected.fqdn = written->fqdn;
        expected.address = written->address;
        expected.admin_fqdn = written->admin_fqdn;
        expected.psk_identity = written->psk_identity;
        expected.psk = written->psk;
        expected.certificate = written->certificate;
        expected.trust_anchors = written->trust_anchors;
        expected.trust_anchor_count = written->trust_anchor_count;
        rig_same_tef(written, &expected);
    }
    config_free(plain);
}

// conf/sagate.conf: what is commented out says the default, so the file means the same without the '#'.
static void example_says_the_defaults(void)
{
    char *example = read_text("conf/sagate.conf");
    struct config *plain = rig_good(example);
    for (char *line = example; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        char *sign = line + strspn(line, " ");
        if (sign[0] != '#' || sign[1] != ' ')
            continue;
        // A setting, or what holds one: "# name = …", "#     {", "# );".
        const char *word = sign + 1 + strspn(sign + 1, " ");
        size_t name = strspn(word, "abcdefghijklmnopqrstuvwxyz_");
        if ((name > 0 && strncmp(word + name, " = ", 3) == 0) || strchr("{})", *word) != NULL)
            *sign = ' ';
        else if (word[0] == '#' && sign == line)
            *sign = *(char *)(uintptr_t)word = ' ';
    }
    // Some things are no defaults: certificates, trust anchors, MAFs and MEFs, and what depends on a listener's
    // transport or number of cores.
    struct config_errors errors;
    struct config *full = NULL;
    CU_ASSERT_EQUAL_FATAL(rig_load(example, &full, &errors), SAGATE_OK);
    CU_ASSERT_EQUAL(full->certificate_count, 1);
    CU_ASSERT_EQUAL(full->listeners[0].certificate_count, 1);
    full->listeners[0].certificate_count = 0;
    full->certificate_count = 0;
    CU_ASSERT_EQUAL(full->trust_anchor_count, 2);
    CU_ASSERT_EQUAL(full->listeners[0].trust_anchor_count, 1);
    full->listeners[0].trust_anchor_count = full->trust_anchor_count = 0;
    CU_ASSERT_EQUAL_FATAL(full->tef_count, 2);
    full->tef_count = 0;
    char *text = config_write_text(full);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    CU_ASSERT_STRING_EQUAL(text, plain->text);
    free(text);
    full->listeners[0].certificate_count = 1;
    full->certificate_count = 1;
    full->listeners[0].trust_anchor_count = 1;
    full->trust_anchor_count = 2;
    full->tef_count = 2;
    example_of_tefs_says_the_defaults(full);
    // Every setting is there.
    for (const struct tree_group *const *group = table_all; *group != NULL; group++) {
        for (size_t i = 0; i < (*group)->count; i++) {
            const struct tree_setting *s = &(*group)->settings[i];
            char there[80];
            (void)snprintf(there, sizeof there, "%s%s", s->name, s->kind == TREE_NESTED ? "" : " = ");
            if ((s->flags & TREE_TEXT_ONLY) == 0)
                CU_ASSERT_PTR_NOT_NULL(strstr(example, there));
        }
    }
    config_free(full);
    config_free(plain);
    free(example);
}

// docs/configuration.md: one row per setting, with the range and default of the table.
static void reference_is_complete(void)
{
    char *reference = read_text("docs/configuration.md");
    for (const struct tree_group *const *group = table_all; *group != NULL; group++) {
        for (size_t i = 0; i < (*group)->count; i++) {
            const struct tree_setting *s = &(*group)->settings[i];
            char row[160];
            if ((s->flags & TREE_TEXT_ONLY) != 0 || s->kind == TREE_NESTED)
                continue;
            (void)snprintf(row, sizeof row, "| `%s` |", s->name);
            if (s->kind == TREE_NUMBER && s->default_value >= s->min)
                (void)snprintf(row, sizeof row, "| `%s` | integer | %u to %u | %u |", s->name, s->min, s->max,
                               s->default_value);
            if (strstr(reference, row) == NULL)
                printf("\nmissing in docs/configuration.md: %s\n", row);
            CU_ASSERT_PTR_NOT_NULL(strstr(reference, row));
        }
    }
    free(reference);
}

static void random_texts_never_crash(void)
{
    struct config *whole = NULL;
    struct config_errors errors;
    rig_put("auth", "Bearer very-secret-token\n", 0600);
    CU_ASSERT_EQUAL_FATAL(rig_load(everything, &whole, &errors), SAGATE_OK);
    size_t len = strlen(whole->text);
    char *text = malloc(len + 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    // Every character is lost once; what comes of it is an error or a configuration, and never a loss of memory.
    for (size_t i = 0; i < len; i++) {
        struct config *config = NULL;
        memcpy(text, whole->text, i);
        memcpy(text + i, whole->text + i + 1, len - i);
        int result = config_parse(text, &config, &errors);
        CU_ASSERT_EQUAL(result == SAGATE_OK, errors.count == 0);
        CU_ASSERT_TRUE(result == SAGATE_OK || result == SAGATE_ECONFIG);
        if (errors.text != NULL)
            CU_ASSERT_PTR_NULL(strstr(errors.text, "very-secret"));
        config_errors_free(&errors);
        config_free(config);
    }
    free(text);
    config_free(whole);
}

static void what_a_new_start_changes_is_kept(void)
{
    struct config *running =
        rig_good("process = { workers = 2; user = \"one\"; state_directory = \"/var/a\"; };\n" UPSTREAMS LISTENERS);
    struct config *next =
        rig_good("process = { workers = 3; user = \"two\"; state_directory = \"/var/b\"; log_level = "
                 "\"error\"; lock_memory = false; kernel_tls = \"off\"; };\nlimits = { associations = "
                 "77; connection_id_bytes = 0; };\n" UPSTREAMS LISTENERS);
    struct config *parsed = NULL;
    struct config_errors errors = {0};
    CU_ASSERT_EQUAL(config_keep_fixed(next, running), 1);
    CU_ASSERT_EQUAL(config_keep_fixed(next, running), 0);
    CU_ASSERT_EQUAL_FATAL(config_parse(next->text, &parsed, &errors), SAGATE_OK);
    CU_ASSERT_EQUAL(parsed->process.workers, 2);
    CU_ASSERT_STRING_EQUAL(parsed->process.user, "one");
    CU_ASSERT_STRING_EQUAL(parsed->process.state_directory, "/var/a");
    CU_ASSERT_EQUAL(parsed->process.kernel_tls, CONFIG_KERNEL_TLS_AUTO);
    CU_ASSERT_EQUAL(parsed->limits.associations, running->limits.associations);
    CU_ASSERT_TRUE(parsed->process.lock_memory);
    CU_ASSERT_EQUAL(parsed->limits.connection_id_bytes, 8);
    CU_ASSERT_EQUAL(parsed->process.log_level, LOG_LEVEL_ERROR);
    config_free(parsed);
    config_free(next);
    config_free(running);
}

static const struct unit_test tests[] = {
    {"the smallest configuration has the defaults", smallest_has_defaults},
    {"everything is read and survives", everything_is_read},
    {"defaults follow what is set beside them", defaults_follow_what_is_set},
    {"wrong values are named", wrong_values_are_named},
    {"wrong upstreams are named", wrong_upstreams_are_named},
    {"wrong listeners are named", wrong_listeners_are_named},
    {"addresses that do not collide", addresses_that_do_not_collide},
    {"every error is told", every_error_is_told},
    {"too many are refused", too_many_are_refused},
    {"syntax errors have a place", syntax_errors_have_a_place},
    {"includes", includes},
    {"files that cannot be read", files_that_cannot_be_read},
    {"authorization is guarded", authorization_is_guarded},
    {"the example says the defaults", example_says_the_defaults},
    {"the reference is complete", reference_is_complete},
    {"what a new start changes is kept", what_a_new_start_changes_is_kept},
    {"damaged texts never crash", random_texts_never_crash},
};

int main(void)
{
    return rig_main("config", tests, sizeof tests / sizeof *tests);
}
