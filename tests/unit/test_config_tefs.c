// MAFs and MEFs in the configuration: what is refused, and with which words.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "tests/unit/config_rig.h"

#include <stdio.h>
#include <string.h>

static void wrong_tefs_are_named(void)
{
    static const char *const cases[][2] = {
        {MAFS(TEF(ADMIN)), "'mafs[0]': sagate has no credential towards this MAF; expected psk_identity and psk, or "},
        {MEFS(TEF(ADMIN)), "sagate.conf:2: setting 'mefs[0]': sagate has no credential towards this MEF"},
        {MAFS(TEF(ADMIN "psk_identity = \"i\";")), "'mafs[0].psk': missing; expected it beside 'psk_identity'"},
        {MAFS(TEF(ADMIN "psk = \"file:k\";")), "'mafs[0].psk_identity': missing; expected it beside 'psk'"},
        {MAFS(TEF(ADMIN KEY "certificate = \"c\";")), "'mafs[0].certificate': there is a pre-shared key too"},
        {MAFS(TEF(ADMIN "certificate = \"c\";")),
         "'mafs[0].certificate': the certificate of the MAF cannot be verified"},
        {MAFS(TEF(ADMIN "certificate = \"d\"; trust_anchors = [ \"t\" ];")),
         "'mafs[0].certificate': the certificate \"d\" is not defined in 'certificates'"},
        {MAFS(TEF(ADMIN "certificate = \"c\"; trust_anchors = [ \"t\", \"u\" ];")),
         "'mafs[0].trust_anchors[1]': the trust anchor \"u\" is not defined"},
        {MAFS(TEF(ADMIN KEY "trust_anchors = [ \"t\" ];")), "'mafs[0].trust_anchors': means nothing with a pre-shared"},
        {MAFS(TEF(KEY)), "'mafs[0].admin_fqdn': missing; a client registers for an administrating stakeholder"},
        {MAFS(TEF(KEY "register = false; admin_checked = true;")), "'mafs[0].admin_checked': nothing to compare with"},
        {MAFS(TEF(KEY "admin_fqdn = \"*.x\";")),
         "'mafs[0].admin_fqdn': found the string \"*.x\", expected a host name"},
        {MAFS(TEF(ADMIN KEY "profile = { method = \"key_retrieval\"; };")),
         "'mafs[0].profile.method': means nothing for a MAF; leave it out"},
        {MAFS(TEF(ADMIN KEY "profile = { coap_numbering = \"old\"; };")),
         "'mafs[0].profile.coap_numbering': means nothing for binding \"http\"; leave it out"},
        {MEFS(TEF(ADMIN KEY "profile = { method = \"x\"; };")),
         "'mefs[0].profile.method': found the string \"x\", expected \"key_retrieval\" or \"fetch_credentials\""},
        {MAFS(TEF(ADMIN KEY "profile = { encoding = \"b64\"; };")), "expected \"auto\" or \"base64\" or \"hex\""},
        {MAFS(TEF(ADMIN KEY "profile = { registration_path = \"\"; };")),
         "'mafs[0].profile.registration_path': found the string \"\", expected a path of at most 255 bytes"},
        {MAFS(TEF(ADMIN KEY "profile = { key_path = \"/x?y\"; };")), "'mafs[0].profile.key_path': found the string"},
        {MAFS(TEF(ADMIN KEY "profile = { suid = \"a b\"; };")), "'mafs[0].profile.suid': found the string \"a b\""},
        {MAFS(TEF(ADMIN KEY "profile = { key_type = 0; };")), "expected an integer from 1 to 65535"},
        {MAFS(TEF(ADMIN KEY "connections = 17;")), "expected an integer from 1 to 16"},
        {MAFS(TEF(ADMIN KEY "requests_per_connection = 65;")), "expected an integer from 1 to 64"},
        {MAFS(TEF(ADMIN "psk_identity = \"i\"; psk = \"hex:deadbeef\";")), "'mafs[0].psk': "},
        {MAFS(TEF(ADMIN "psk_identity = \"i\"; psk = 5;")), "'mafs[0].psk': found an integer, expected a reference"},
        {MAFS(TEF(ADMIN "psk_identity = \"a\\tb\"; psk = \"file:k\";")),
         "expected a PSK identity of at most 512 bytes"},
        {MAFS("{ name = \"m\"; fqdn = \"m_m\"; address = \"192.0.2.1\"; upstream = \"in\"; " ADMIN KEY "}"),
         "'mafs[0].fqdn': found the string \"m_m\", expected a host name"},
        {MAFS("{ name = \"m\"; fqdn = \"m\"; address = \"maf.example\"; upstream = \"in\"; " ADMIN KEY "}"),
         "'mafs[0].address': found the string \"maf.example\", expected a numeric"},
        {MAFS("{ name = \"m\"; fqdn = \"m\"; address = \"192.0.2.1\"; upstream = \"inn\"; " ADMIN KEY "}"),
         "'mafs[0].upstream': the upstream \"inn\" is not defined; defined: \"in\""},
        {MAFS("{ name = \"m\"; fqdn = \"m\"; upstream = \"in\"; " ADMIN KEY "}"), "'mafs[0].address': missing"},
        {MAFS(TEF(ADMIN KEY)) "\n" MEFS("{ name = \"n\"; fqdn = \"M.Example\"; address = \"192.0.2.1\"; upstream = "
                                        "\"in\"; " ADMIN KEY "}"),
         "sagate.conf:3: setting 'mefs[0].fqdn': \"m.example\" is the name of mafs[0] too"},
        {MAFS(TEF(ADMIN KEY) ",\n{ name = \"m\"; fqdn = \"n\"; address = \"192.0.2.1\"; upstream = \"in\"; " ADMIN KEY
                             "}"),
         "sagate.conf:3: setting 'mafs[1].name': the name \"m\" is taken by mafs[0]"},
        {"mafs = ( 5 );", "setting 'mafs[0]': found the integer 5, expected a group"},
        {"mafs = ( );", "setting 'mafs': the list is empty"},
        {"mefs = { };", "setting 'mefs': found a group { … }, expected a list of groups"},
        {"resolver = { waiting = 0; };", "'resolver.waiting': found the integer 0, expected an integer from 1 to"},
        {"minimum_protection_level = { tef_keys = 4; };", "expected an integer from 0 to 3"},
        {"minimum_protection_level = { tef_keys = 2; };\n" MAFS(TEF(ADMIN KEY)),
         "sagate.conf:3: setting 'mafs[0].psk': a key in a file has protection level 1, expected a home of at least "
         "level 2 (minimum_protection_level.tef_keys)"},
        {"minimum_protection_level = { private_keys = 2; };",
         "sagate.conf:1: setting 'certificates[0].key_file': a key in a file has protection level 1, expected a home "
         "of "
         "at least level 2 (minimum_protection_level.private_keys)"},
        {"minimum_protection_level = { credentials = 2; };",
         "setting 'credentials_file': keys in a file have protection level 1, expected a home of at least level 2 "
         "(minimum_protection_level.credentials), or \"\" for no file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[4096];
        (void)snprintf(
            text, sizeof text,
            "certificates = ( { name = \"c\"; chain_file = \"c\"; key_file = \"k\"; } ); trust_anchors = ( { "
            "name = \"t\"; file = \"t\"; } ); upstreams = ( %s ); listeners = ( %s );\n%s",
            UPSTREAM, COAPS, cases[i][0]);
        CU_ASSERT_EQUAL(rig_bad(text, cases[i][1]), 1);
    }
    // What is wrong with a reference is told without the reference, which may hold a PIN.
    struct config *config = NULL;
    struct config_errors errors;
    CU_ASSERT_EQUAL(
        rig_load(UPSTREAMS LISTENERS MAFS(TEF(ADMIN "psk_identity = \"i\"; psk = \"pkcs:pin-value=sesame\";")), &config,
                 &errors),
        SAGATE_ECONFIG);
    CU_ASSERT_PTR_NULL(strstr(errors.text, "sesame"));
    config_errors_free(&errors);
    // Those of tokens are good enough for level 2.
    config = rig_good(UPSTREAMS LISTENERS "minimum_protection_level = { tef_keys = 2; };" MAFS(
        TEF(ADMIN "psk_identity = \"i\"; psk = \"pkcs11:object=k\";")));
    config_free(config);
}

static void too_many_are_refused(void)
{
    struct text text = {0};
    text_add(&text, UPSTREAMS LISTENERS);
    for (int i = 0; i < 33; i++)
        text_add(&text,
                 "%s{ name = \"t%d\"; fqdn = \"t%d\"; address = \"::1\"; upstream = \"in\"; register = false; psk = "
                 "\"file:k\"; psk_identity = \"i\"; }%s",
                 i == 0    ? "mafs = ( "
                 : i == 20 ? "mefs = ( "
                           : ", ",
                 i, i, i == 19 || i == 32 ? " );\n" : "");
    CU_ASSERT_EQUAL(rig_bad(text.data, "'mefs': found 33 entries in 'mafs' and 'mefs', expected at most 32"), 1);
    text_free(&text);
}

static const struct unit_test tests[] = {
    {"wrong MAFs and MEFs are named", wrong_tefs_are_named},
    {"too many are refused", too_many_are_refused},
};

int main(void)
{
    return rig_main("config_tefs", tests, sizeof tests / sizeof *tests);
}
