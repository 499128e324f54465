// Self-signed certificates and keys that protect nothing: for tests only. Valid for a hundred years.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_TLS_CERTIFICATES_H
#define SAGATE_TESTS_UNIT_TLS_CERTIFICATES_H

// one.example, P-256
static const char tls_certificate_one[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBnDCCAUGgAwIBAgIUayzEQPlBIHdRNUrEcCR0TPzDTz8wCgYIKoZIzj0EAwIw\n"
    "FjEUMBIGA1UEAwwLb25lLmV4YW1wbGUwIBcNMjYxMTI0MDM0MDIxWhgPMjEyNjEw\n"
    "MzEwMzQwMjFaMBYxFDASBgNVBAMMC29uZS5leGFtcGxlMFkwEwYHKoZIzj0CAQYI\n"
    "KoZIzj0DAQcDQgAEh8FcrWqRiSi0jHWD+vd8aYT79JnCV41PgryRvUNG3SDxFr7+\n"
    "Y4Klz/f5jp8wFWgEKcHCnI8724cTIn5CF/N/+6NrMGkwHQYDVR0OBBYEFF6K6ZXo\n"
    "UqBlzdb17p3sgdnZdIEjMB8GA1UdIwQYMBaAFF6K6ZXoUqBlzdb17p3sgdnZdIEj\n"
    "MA8GA1UdEwEB/wQFMAMBAf8wFgYDVR0RBA8wDYILb25lLmV4YW1wbGUwCgYIKoZI\n"
    "zj0EAwIDSQAwRgIhAO+zZRtQPlNTRTZg8GJtee8GK3e38MUmiFqZitFiSbC5AiEA\n"
    "hMP5kOOp8Xt9Bc4+eMJmw6cIqQMdysXklYR8csH/+3g=\n"
    "-----END CERTIFICATE-----\n";
static const char tls_key_one[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBfkRxyTdRTUxzrpM\n"
    "XJC0G9pPi0mD5WQO2tscK8sjwuqhRANCAASHwVytapGJKLSMdYP693xphPv0mcJX\n"
    "jU+CvJG9Q0bdIPEWvv5jgqXP9/mOnzAVaAQpwcKcjzvbhxMifkIX83/7\n"
    "-----END PRIVATE KEY-----\n";

// two.example, P-256
static const char tls_certificate_two[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBmjCCAUGgAwIBAgIULjXqj8PV4GuSZ0keZ2ypYeoucyEwCgYIKoZIzj0EAwIw\n"
    "FjEUMBIGA1UEAwwLdHdvLmV4YW1wbGUwIBcNMjYxMTI0MDM0MDIxWhgPMjEyNjEw\n"
    "MzEwMzQwMjFaMBYxFDASBgNVBAMMC3R3by5leGFtcGxlMFkwEwYHKoZIzj0CAQYI\n"
    "KoZIzj0DAQcDQgAEuZ5NnzLhtUfTgjKGJGjYG/ocyMx3wx4+n2Q9TChuI0aR2gL0\n"
    "Sve49GLChMa9fKzNC6m1UAPFHYBDOm/8wJlL86NrMGkwHQYDVR0OBBYEFN/85umC\n"
    "zlPYBpRXgmm4Lh0/JplyMB8GA1UdIwQYMBaAFN/85umCzlPYBpRXgmm4Lh0/Jply\n"
    "MA8GA1UdEwEB/wQFMAMBAf8wFgYDVR0RBA8wDYILdHdvLmV4YW1wbGUwCgYIKoZI\n"
    "zj0EAwIDRwAwRAIgV9mcnmXBGuFkCuBhfqSTIuJoXukYKKLXf7qMBct+ntMCIGoV\n"
    "UwobjWtczX44jMd01da5rxzfx21pMy4XSfFLZDp3\n"
    "-----END CERTIFICATE-----\n";
static const char tls_key_two[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgO089WFU/KTYSEmym\n"
    "EWTs/sWRDiToHvWO3jzoQPPoTgmhRANCAAS5nk2fMuG1R9OCMoYkaNgb+hzIzHfD\n"
    "Hj6fZD1MKG4jRpHaAvRK97j0YsKExr18rM0LqbVQA8UdgEM6b/zAmUvz\n"
    "-----END PRIVATE KEY-----\n";

#endif
