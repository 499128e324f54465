// Certificates of devices, of an authority that exists in tests only; one key for all. Valid until 2120.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_TLS_DEVICE_CERTIFICATES_H
#define SAGATE_TESTS_UNIT_TLS_DEVICE_CERTIFICATES_H

// the anchor
__attribute__((unused)) static const char tls_device_ca[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBTTCB9KADAgECAgIQADAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJjYTAgFw0y\n"
    "MDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowDTELMAkGA1UEAwwCY2EwWTAT\n"
    "BgcqhkjOPQIBBggqhkjOPQMBBwNCAAR4T0/mnK+bzrYFtXL9jC3i7jLP0kt99aVU\n"
    "n64ooTnxNmOF1W6+A8omSxgBPATsVCeXt/xyC2EuQB6uCt66Wk5eo0IwQDAPBgNV\n"
    "HRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwICBDAdBgNVHQ4EFgQU3peLYdC1dHAP\n"
    "8OT/UT3SZqXFw7swCgYIKoZIzj0EAwIDSAAwRQIhAJvyXSO7iWTGhSsCBOhUW8eO\n"
    "NYmZeNTwOdOfIyimaqV6AiBzhgCgcibZz+54MfiXzXtL7Ik9zvojjSdta2UXO3ti\n"
    "og==\n"
    "-----END CERTIFICATE-----\n";
// an issuer below it, for URIs at sp.example alone
__attribute__((unused)) static const char tls_device_issuer[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBlTCCATugAwIBAgICEAIwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EwIBcN\n"
    "MjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBAxDjAMBgNVBAMMBWludGVy\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEctgjlHeieqGzaDTRS1YBmjJvbf56\n"
    "BGUQtHisD4WlKLMKpA8SO+gMu4GFe1GhxbIFEvXkv3FI4PhT8hGjwHbl+6OBhTCB\n"
    "gjASBgNVHRMBAf8ECDAGAQH/AgEAMA4GA1UdDwEB/wQEAwICBDAdBgNVHQ4EFgQU\n"
    "LgxA2A1sn8FwzMLFTXQ1HL7EzT8wHwYDVR0jBBgwFoAU3peLYdC1dHAP8OT/UT3S\n"
    "ZqXFw7swHAYDVR0eAQH/BBIwEKAOMAyGCnNwLmV4YW1wbGUwCgYIKoZIzj0EAwID\n"
    "SAAwRQIgKztLw8yc+gaPA4HdZaivxtZdTQHavR8fOo4AGJAoIF4CIQDbl10jaaJ5\n"
    "KCjAJrvIj3epgsPxLAoXJ/hZQSkU/n/wvQ==\n"
    "-----END CERTIFICATE-----\n";
// m2m://sp.example/id-in/Cae, valid until 2120
__attribute__((unused)) static const char tls_device_ae[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBhTCCASugAwIBAgICEAMwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EwIBcN\n"
    "MjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMA0xCzAJBgNVBAMMAmFlMFkw\n"
    "EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEj2HrpGkUVs/hLMexiKveY4szsejqS3ay\n"
    "S0LWJ7ATAnZZi6DaZ/I2z2X8sBmUgBj69vZngJdnk5xVSp2rAXq/JKN5MHcwDgYD\n"
    "VR0PAQH/BAQDAgeAMB8GA1UdIwQYMBaAFN6Xi2HQtXRwD/Dk/1E90malxcO7MCUG\n"
    "A1UdEQQeMByGGm0ybTovL3NwLmV4YW1wbGUvaWQtaW4vQ2FlMB0GA1UdDgQWBBSU\n"
    "0Y1/+gPTjbc9uhqYEVnoxtT91DAKBggqhkjOPQQDAgNIADBFAiAx70ZauVacusGW\n"
    "q3utJhPwVRN1Qo0GgmY9cTIyYdPNJgIhANFvlkr9aJOsXUzOSZvd8q9Bso3dDRDT\n"
    "FHK27B6auB/9\n"
    "-----END CERTIFICATE-----\n";
// the same, valid until 2038
__attribute__((unused)) static const char tls_device_ae_2038[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBhjCCASygAwIBAgICEAwwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EwHhcN\n"
    "MjAwMTAxMDAwMDAwWhcNMzgwMTAxMDAwMDAwWjAQMQ4wDAYDVQQDDAVzaG9ydDBZ\n"
    "MBMGByqGSM49AgEGCCqGSM49AwEHA0IABI9h66RpFFbP4SzHsYir3mOLM7Ho6kt2\n"
    "sktC1iewEwJ2WYug2mfyNs9l/LAZlIAY+vb2Z4CXZ5OcVUqdqwF6vySjeTB3MA4G\n"
    "A1UdDwEB/wQEAwIHgDAfBgNVHSMEGDAWgBTel4th0LV0cA/w5P9RPdJmpcXDuzAl\n"
    "BgNVHREEHjAchhptMm06Ly9zcC5leGFtcGxlL2lkLWluL0NhZTAdBgNVHQ4EFgQU\n"
    "lNGNf/oD0423PboamBFZ6MbU/dQwCgYIKoZIzj0EAwIDSAAwRQIhAKgNTnB6rjAK\n"
    "lDEcUOarYChDCfxOnqV9QA5aDm0pJRhqAiB7mn/1ODuveTibIeHVm4loBa+2PPM1\n"
    "OvExdLjIBgwbaw==\n"
    "-----END CERTIFICATE-----\n";
// the same, expired in 2021
__attribute__((unused)) static const char tls_device_ae_expired[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBgzCCASqgAwIBAgICEAcwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EwHhcN\n"
    "MjAwMTAxMDAwMDAwWhcNMjEwMTAxMDAwMDAwWjAOMQwwCgYDVQQDDANvbGQwWTAT\n"
    "BgcqhkjOPQIBBggqhkjOPQMBBwNCAASPYeukaRRWz+Esx7GIq95jizOx6OpLdrJL\n"
    "QtYnsBMCdlmLoNpn8jbPZfywGZSAGPr29meAl2eTnFVKnasBer8ko3kwdzAOBgNV\n"
    "HQ8BAf8EBAMCB4AwHwYDVR0jBBgwFoAU3peLYdC1dHAP8OT/UT3SZqXFw7swJQYD\n"
    "VR0RBB4wHIYabTJtOi8vc3AuZXhhbXBsZS9pZC1pbi9DYWUwHQYDVR0OBBYEFJTR\n"
    "jX/6A9ONtz26GpgRWejG1P3UMAoGCCqGSM49BAMCA0cAMEQCIAUSxCKh9YNOmQ1z\n"
    "hlfdjq3fIQ6cY2wSY3jXtffjgnaZAiBoJOVujytgzteZU3pEfPFLMheFmFsyJics\n"
    "J1TlJ68SWA==\n"
    "-----END CERTIFICATE-----\n";
// the same of another authority
__attribute__((unused)) static const char tls_device_ae_foreign[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBkDCCATagAwIBAgICEAgwCgYIKoZIzj0EAwIwEjEQMA4GA1UEAwwHZm9yZWln\n"
    "bjAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowEzERMA8GA1UEAwwI\n"
    "c3RyYW5nZXIwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASPYeukaRRWz+Esx7GI\n"
    "q95jizOx6OpLdrJLQtYnsBMCdlmLoNpn8jbPZfywGZSAGPr29meAl2eTnFVKnasB\n"
    "er8ko3kwdzAOBgNVHQ8BAf8EBAMCB4AwHwYDVR0jBBgwFoAUp6FGNKMgQWwMvTrB\n"
    "U5jrI77yN7gwJQYDVR0RBB4wHIYabTJtOi8vc3AuZXhhbXBsZS9pZC1pbi9DYWUw\n"
    "HQYDVR0OBBYEFJTRjX/6A9ONtz26GpgRWejG1P3UMAoGCCqGSM49BAMCA0gAMEUC\n"
    "IDkXa08+PkGgg1VSYAB3vXJYRQCVIbT0PvY2COZmZhPbAiEA3ASowxt6AyDNyU5L\n"
    "mcPauUHD/bQdKx1e2TSbrKPUlEg=\n"
    "-----END CERTIFICATE-----\n";
// the same, for servers alone (serverAuth)
__attribute__((unused)) static const char tls_device_ae_server[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBnzCCAUagAwIBAgICEAkwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EwIBcN\n"
    "MjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBExDzANBgNVBAMMBnNlcnZl\n"
    "cjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABI9h66RpFFbP4SzHsYir3mOLM7Ho\n"
    "6kt2sktC1iewEwJ2WYug2mfyNs9l/LAZlIAY+vb2Z4CXZ5OcVUqdqwF6vySjgY8w\n"
    "gYwwDgYDVR0PAQH/BAQDAgeAMB8GA1UdIwQYMBaAFN6Xi2HQtXRwD/Dk/1E90mal\n"
    "xcO7MBMGA1UdJQQMMAoGCCsGAQUFBwMBMCUGA1UdEQQeMByGGm0ybTovL3NwLmV4\n"
    "YW1wbGUvaWQtaW4vQ2FlMB0GA1UdDgQWBBSU0Y1/+gPTjbc9uhqYEVnoxtT91DAK\n"
    "BggqhkjOPQQDAgNHADBEAiAU+PtN68lElVzVqmjeJGYp6bbVhTmP/JCceM1hO/td\n"
    "AAIgJL6S7261/aCHK7fss6qdsoNECQQLSzJREOa8A1ui7h0=\n"
    "-----END CERTIFICATE-----\n";
// m2m://sp.example/Sae, m2m://sp.example/id-in/Cother, mn1.id-in.sp.example
__attribute__((unused)) static const char tls_device_two_aes[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBuDCCAV2gAwIBAgICEAQwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EwIBcN\n"
    "MjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMA4xDDAKBgNVBAMMA2FlczBZ\n"
    "MBMGByqGSM49AgEGCCqGSM49AwEHA0IABI9h66RpFFbP4SzHsYir3mOLM7Ho6kt2\n"
    "sktC1iewEwJ2WYug2mfyNs9l/LAZlIAY+vb2Z4CXZ5OcVUqdqwF6vySjgakwgaYw\n"
    "DgYDVR0PAQH/BAQDAgeAMB8GA1UdIwQYMBaAFN6Xi2HQtXRwD/Dk/1E90malxcO7\n"
    "MFQGA1UdEQRNMEuGFG0ybTovL3NwLmV4YW1wbGUvU2Flhh1tMm06Ly9zcC5leGFt\n"
    "cGxlL2lkLWluL0NvdGhlcoIUbW4xLmlkLWluLnNwLmV4YW1wbGUwHQYDVR0OBBYE\n"
    "FJTRjX/6A9ONtz26GpgRWejG1P3UMAoGCCqGSM49BAMCA0kAMEYCIQDX0CWDFf4c\n"
    "GfhM9y+1W48Ggvn6OofbUd4zvjwBFN8OYgIhAPa452RXIUJQqvhNa6V87LYpeDLi\n"
    "1Ybe5cRsdSE7kRpW\n"
    "-----END CERTIFICATE-----\n";
// mn1.id-in.sp.example, for clients alone (clientAuth)
__attribute__((unused)) static const char tls_device_cse[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBmDCCAT2gAwIBAgICEAUwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EwIBcN\n"
    "MjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMA4xDDAKBgNVBAMMA2NzZTBZ\n"
    "MBMGByqGSM49AgEGCCqGSM49AwEHA0IABI9h66RpFFbP4SzHsYir3mOLM7Ho6kt2\n"
    "sktC1iewEwJ2WYug2mfyNs9l/LAZlIAY+vb2Z4CXZ5OcVUqdqwF6vySjgYkwgYYw\n"
    "DgYDVR0PAQH/BAQDAgeAMB8GA1UdIwQYMBaAFN6Xi2HQtXRwD/Dk/1E90malxcO7\n"
    "MBMGA1UdJQQMMAoGCCsGAQUFBwMCMB8GA1UdEQQYMBaCFG1uMS5pZC1pbi5zcC5l\n"
    "eGFtcGxlMB0GA1UdDgQWBBSU0Y1/+gPTjbc9uhqYEVnoxtT91DAKBggqhkjOPQQD\n"
    "AgNJADBGAiEA7k0mggbMyW1jc728Uv77Mv1e8TMs2V2HzL3oKqAk+RcCIQChADuo\n"
    "kjghXx0/tCnUWVsrms2MS4uVXBBKgdPqQdvVHQ==\n"
    "-----END CERTIFICATE-----\n";
// urn:dev:ops:001122-thing, thing.sp.example
__attribute__((unused)) static const char tls_device_nobody[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBnDCCAUGgAwIBAgICEAYwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EwIBcN\n"
    "MjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBExDzANBgNVBAMMBm5vYm9k\n"
    "eTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABI9h66RpFFbP4SzHsYir3mOLM7Ho\n"
    "6kt2sktC1iewEwJ2WYug2mfyNs9l/LAZlIAY+vb2Z4CXZ5OcVUqdqwF6vySjgYow\n"
    "gYcwDgYDVR0PAQH/BAQDAgeAMB8GA1UdIwQYMBaAFN6Xi2HQtXRwD/Dk/1E90mal\n"
    "xcO7MDUGA1UdEQQuMCyGGHVybjpkZXY6b3BzOjAwMTEyMi10aGluZ4IQdGhpbmcu\n"
    "c3AuZXhhbXBsZTAdBgNVHQ4EFgQUlNGNf/oD0423PboamBFZ6MbU/dQwCgYIKoZI\n"
    "zj0EAwIDSQAwRgIhANc7Ir/QDaTJeDy5Md4yRt8XlNON46ZJQBMaenKBrF8CAiEA\n"
    "9vCfQWDfLkGtjoxsQjfDhSmBlWyq2hs18LHzNxjmb8Y=\n"
    "-----END CERTIFICATE-----\n";
// m2m://sp.example/id-in/Cbelow, by the issuer below
__attribute__((unused)) static const char tls_device_below[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBjjCCATSgAwIBAgICEAowCgYIKoZIzj0EAwIwEDEOMAwGA1UEAwwFaW50ZXIw\n"
    "IBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBAxDjAMBgNVBAMMBWJl\n"
    "bG93MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEj2HrpGkUVs/hLMexiKveY4sz\n"
    "sejqS3ayS0LWJ7ATAnZZi6DaZ/I2z2X8sBmUgBj69vZngJdnk5xVSp2rAXq/JKN8\n"
    "MHowDgYDVR0PAQH/BAQDAgeAMB8GA1UdIwQYMBaAFC4MQNgNbJ/BcMzCxU10NRy+\n"
    "xM0/MCgGA1UdEQQhMB+GHW0ybTovL3NwLmV4YW1wbGUvaWQtaW4vQ2JlbG93MB0G\n"
    "A1UdDgQWBBSU0Y1/+gPTjbc9uhqYEVnoxtT91DAKBggqhkjOPQQDAgNIADBFAiEA\n"
    "1OEdUmWcls2z2zFz5pwdRZpKTqDZA7zZJCXmH6hWPSMCIFVM5vPNwQMnffHyLmtx\n"
    "9A+Ogrh8PlF4GxpP7m3v+PTZ\n"
    "-----END CERTIFICATE-----\n";
// m2m://other.example/id-in/Cae, by the same, which may not
__attribute__((unused)) static const char tls_device_beyond[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBjzCCATWgAwIBAgICEAswCgYIKoZIzj0EAwIwEDEOMAwGA1UEAwwFaW50ZXIw\n"
    "IBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBExDzANBgNVBAMMBmJl\n"
    "eW9uZDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABI9h66RpFFbP4SzHsYir3mOL\n"
    "M7Ho6kt2sktC1iewEwJ2WYug2mfyNs9l/LAZlIAY+vb2Z4CXZ5OcVUqdqwF6vySj\n"
    "fDB6MA4GA1UdDwEB/wQEAwIHgDAfBgNVHSMEGDAWgBQuDEDYDWyfwXDMwsVNdDUc\n"
    "vsTNPzAoBgNVHREEITAfhh1tMm06Ly9vdGhlci5leGFtcGxlL2lkLWluL0NhZTAd\n"
    "BgNVHQ4EFgQUlNGNf/oD0423PboamBFZ6MbU/dQwCgYIKoZIzj0EAwIDSAAwRQIg\n"
    "LVfCBBctbBsMOEtkzLdQ6Lb2Uxi5uA80icnpgILY4LgCIQCPvd+LnDtl3dU+ztfu\n"
    "mJ46LT0lovfDMlGEl4h+vgIwzw==\n"
    "-----END CERTIFICATE-----\n";
// of all of them
__attribute__((unused)) static const char tls_device_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgb3lg79FeV30a03OJ\n"
    "axSN3T6IPvvIcmYUx7HfjzPyidyhRANCAASPYeukaRRWz+Esx7GIq95jizOx6OpL\n"
    "drJLQtYnsBMCdlmLoNpn8jbPZfywGZSAGPr29meAl2eTnFVKnasBer8k\n"
    "-----END PRIVATE KEY-----\n";

#endif
