// Self-signed certificates and keys that protect nothing: for tests only. Valid until 2120.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_TLS_CERTIFICATES_H
#define SAGATE_TESTS_UNIT_TLS_CERTIFICATES_H

// one.example, P-256
static const char tls_certificate_one[] = "-----BEGIN CERTIFICATE-----\n"
                                          "MIIBdjCCAR2gAwIBAgIBATAKBggqhkjOPQQDAjAWMRQwEgYDVQQDEwtvbmUuZXhh\n"
                                          "bXBsZTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowFjEUMBIGA1UE\n"
                                          "AxMLb25lLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASHwVytapGJ\n"
                                          "KLSMdYP693xphPv0mcJXjU+CvJG9Q0bdIPEWvv5jgqXP9/mOnzAVaAQpwcKcjzvb\n"
                                          "hxMifkIX83/7o1owWDAPBgNVHRMBAf8EBTADAQH/MBYGA1UdEQQPMA2CC29uZS5l\n"
                                          "eGFtcGxlMA4GA1UdDwEB/wQEAwIChDAdBgNVHQ4EFgQUFswROc8wJeaI+5bGEZt8\n"
                                          "55tkiTUwCgYIKoZIzj0EAwIDRwAwRAIgZhsEcj6877pHriWwN+x05d0Tq5TVFLTd\n"
                                          "AHbTeI2Z2sICIEHPuq5RgC4peIYT0zT11irgYCCpRKMqGSEhHRb9jnCs\n"
                                          "-----END CERTIFICATE-----\n";
static const char tls_key_one[] = "-----BEGIN PRIVATE KEY-----\n"
                                  "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBfkRxyTdRTUxzrpM\n"
                                  "XJC0G9pPi0mD5WQO2tscK8sjwuqhRANCAASHwVytapGJKLSMdYP693xphPv0mcJX\n"
                                  "jU+CvJG9Q0bdIPEWvv5jgqXP9/mOnzAVaAQpwcKcjzvbhxMifkIX83/7\n"
                                  "-----END PRIVATE KEY-----\n";

// two.example, P-256
static const char tls_certificate_two[] = "-----BEGIN CERTIFICATE-----\n"
                                          "MIIBdzCCAR2gAwIBAgIBATAKBggqhkjOPQQDAjAWMRQwEgYDVQQDEwt0d28uZXhh\n"
                                          "bXBsZTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowFjEUMBIGA1UE\n"
                                          "AxMLdHdvLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS5nk2fMuG1\n"
                                          "R9OCMoYkaNgb+hzIzHfDHj6fZD1MKG4jRpHaAvRK97j0YsKExr18rM0LqbVQA8Ud\n"
                                          "gEM6b/zAmUvzo1owWDAPBgNVHRMBAf8EBTADAQH/MBYGA1UdEQQPMA2CC3R3by5l\n"
                                          "eGFtcGxlMA4GA1UdDwEB/wQEAwIChDAdBgNVHQ4EFgQUc8inftqYve+ZCUEVvsnS\n"
                                          "+JXuyNgwCgYIKoZIzj0EAwIDSAAwRQIgSBSE3vj9RtUseU0XnoKx1CLR4UCwOroD\n"
                                          "VpFohzpNtfsCIQDwnMIqEbe2iR9O229/uqVA8ZUJTxZf7PUb36pahv/UTQ==\n"
                                          "-----END CERTIFICATE-----\n";
static const char tls_key_two[] = "-----BEGIN PRIVATE KEY-----\n"
                                  "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgO089WFU/KTYSEmym\n"
                                  "EWTs/sWRDiToHvWO3jzoQPPoTgmhRANCAAS5nk2fMuG1R9OCMoYkaNgb+hzIzHfD\n"
                                  "Hj6fZD1MKG4jRpHaAvRK97j0YsKExr18rM0LqbVQA8UdgEM6b/zAmUvz\n"
                                  "-----END PRIVATE KEY-----\n";

#endif
