// What every CUnit program shares: a table of tests, one main that runs it and fails the process when one failed.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_UNIT_H
#define SAGATE_TESTS_UNIT_UNIT_H

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdlib.h>

#ifdef __clang_analyzer__
// CUnit's fatal assertions leave the test with longjmp, which only CUnit's own source shows.
#define CU_assertImplementation(holds, line, text, file, function, fatal) \
    ((holds) || !(fatal) ? (void)0 : exit(EXIT_FAILURE))
#endif

struct unit_test {
    const char *name;
    void (*run)(void);
};

// Runs all tests of one suite; returns the exit status for main.
static inline int unit_main(const char *suite_name, const struct unit_test *tests, size_t count)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return EXIT_FAILURE;
    CU_pSuite suite = CU_add_suite(suite_name, NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        if (suite == NULL || CU_add_test(suite, tests[i].name, tests[i].run) == NULL)
            return EXIT_FAILURE;
    }
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define UNIT_MAIN(suite, tests)                                          \
    int main(void)                                                       \
    {                                                                    \
        return unit_main(suite, tests, sizeof(tests) / sizeof *(tests)); \
    }

#endif
