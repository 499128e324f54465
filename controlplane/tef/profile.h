// How one TEF (MAF or MEF) is spoken to: names of resources, attributes and paths, which no published text that was
// seen confirms (TS-0032; TS-0003 8.3.5, 8.8.2) and which are settings for that reason.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEF_PROFILE_H
#define SAGATE_CONTROLPLANE_TEF_PROFILE_H

enum tef_kind { TEF_MAF, TEF_MEF };
enum tef_encoding { TEF_ENCODING_AUTO, TEF_ENCODING_BASE64, TEF_ENCODING_HEX };
enum { TEF_SUID_KM = 21, TEF_SUID_KPSA = 22 }; // of keys that come through an MEF (TS-0004 6.3.4.2.39)
enum tef_numbering { TEF_NUMBERING_CURRENT, TEF_NUMBERING_OLD }; // of the oneM2M options of CoAP (TS-0008)
enum tef_method { // of fetching a key from an MEF (TS-0003 8.3.5.2.8, or the older 8.3.2.1)
    TEF_METHOD_KEY_RETRIEVAL,
    TEF_METHOD_FETCH_CREDENTIALS
};

// Strings are the profile's owner's. Attribute names: each is looked for as it is and in its long form (the T3
// parameter name), so that both spellings of a server are understood.
struct tef_profile {
    char *registration_path;              // of the base under which clients register, "/"
    char *key_path;                       // of keys; "/{relKeyID}" is appended ("" for the same as registration_path)
    unsigned registration_type, key_type; // ty= of a CREATE
    char *registration_root, *key_root;   // member that holds the resource: "sec:mafClientReg", "sec:symmKeyReg"
    char *expiration_time, *labels, *admin_fqdn, *suid, *target_ids, *source_id, *key_value, *relative_key_id,
        *resource_id;
    enum tef_encoding encoding;        // of key values
    enum tef_method method;            // MEF
    enum tef_numbering coap_numbering; // means nothing over HTTP
};

// The names that are used where the configuration says nothing (long names are in parentheses in docs/tef.md):
// registration_path "/", key_path "/", root names "sec:mafClientReg"/"sec:mefClientReg" and "sec:symmKeyReg", types 1
// and 2, attributes "et", "lbl", "adminFQDN", "SUID", "targetIDs", "sourceID", "keyValue", "relativeKeyID", "ri".
// Static strings, never to be freed.
const struct tef_profile *tef_profile_default(enum tef_kind kind);

#endif
