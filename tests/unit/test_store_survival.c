// What a store's next process finds: after a death in the middle of a change, at any moment at all, and in a region
// whose bytes are damaged. And what an idle association costs.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "dataplane/association/region.h"
#include "tests/unit/store_rig.h"
#include "tests/unit/unit.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct store_rig rig;
static uint64_t random_state;

static uint32_t any(uint32_t below)
{
    random_state = random_state * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)((random_state >> 33) % below);
}

static void reopen_rebuilt(void)
{
    rig.store->header->changing |= 1;
    store_rig_reopen(&rig);
    CU_ASSERT_EQUAL(rig.found, STORE_REBUILT);
}

// --- in the middle of a change -----------------------------------------------------------------------------------

static void is_made_anew_from_the_slots(void)
{
    enum { MAX = 600 };
    uint64_t ids[MAX];
    store_rig_new(&rig, MAX);
    for (uint32_t i = 1; i < MAX; i++)
        ids[i] = store_id(rig.store, store_rig_add(&rig, i % 2 == 0 ? RECORD_DTLS12 : RECORD_DTLS13, i, i % 40));
    for (uint32_t i = 1; i < MAX; i += 3)
        store_release(rig.store, store_by_id(rig.store, ids[i]));
    CU_ASSERT_EQUAL(store_set_principal(rig.store, store_rig_name(8), store_rig_principal(8, 3000)), SAGATE_OK);
    store_head(rig.store, store_by_id(rig.store, ids[8]))->busy = 1;
    CU_ASSERT_NOT_EQUAL(store_take(rig.store, RECORD_DTLS13), 0);
    struct region_header *header = rig.store->header;
    memset(header->wheel, 0xff, sizeof header->wheel);
    memset(header->blocks_free, 0xff, sizeof header->blocks_free);
    memset(rig.store->by_address.entries, 0x55, index_bytes(MAX));
    memset(rig.store->by_cid.entries, 0xaa, index_bytes(MAX));
    memset(rig.store->by_name.entries, 0x01, index_bytes(MAX));
    header->arenas[0].free = header->arenas[1].free = 3;
    header->taken = header->published = 9;
    reopen_rebuilt();
    CU_ASSERT_EQUAL(store_count(rig.store), MAX - 1 - 200 - 1);
    CU_ASSERT_EQUAL(store_lost(rig.store), 1);
    for (uint32_t i = 1; i < MAX; i++) {
        const struct address peer = store_rig_peer(i);
        CU_ASSERT_EQUAL(store_by_id(rig.store, ids[i]) != 0, i % 3 != 1 && i != 8);
        CU_ASSERT_EQUAL(store_by_address(rig.store, 0, &peer), store_by_id(rig.store, ids[i]));
    }
    CU_ASSERT_EQUAL(store_principal_of(rig.store, store_rig_name(8)).len, 3000);
    store_rig_check(&rig);
    for (uint32_t i = 1; i < MAX; i++) // and every place is to be had
        (void)store_rig_add(&rig, RECORD_DTLS12, i, i);
    CU_ASSERT_EQUAL(store_count(rig.store), MAX - 1);
    store_rig_check(&rig);
    store_rig_free(&rig);
}

static void an_interrupted_move_is_undone(void)
{
    store_rig_new(&rig, 10);
    const struct address here = store_rig_peer(3);
    const struct address there = store_rig_peer(1);
    const uint64_t id = store_id(rig.store, store_rig_add(&rig, RECORD_DTLS12, 3, 1));
    struct slot *head = store_head(rig.store, store_by_id(rig.store, id));
    struct region_move *move = &rig.store->header->move;
    move->port = head->port;
    move->family = head->family;
    memcpy(move->address, head->address, sizeof move->address);
    move->slot = store_by_id(rig.store, id);
    head->family = 4; // half of it
    memset(head->address, 0x77, 7);
    reopen_rebuilt();
    CU_ASSERT_EQUAL(store_by_address(rig.store, 0, &here), store_by_id(rig.store, id));
    CU_ASSERT_EQUAL(store_count(rig.store), 1);
    CU_ASSERT_EQUAL(store_move(rig.store, store_by_id(rig.store, id), &there), SAGATE_OK);
    reopen_rebuilt();
    CU_ASSERT_EQUAL(store_by_address(rig.store, 0, &there), store_by_id(rig.store, id));
    store_rig_check(&rig);
    store_rig_free(&rig);
}

static void what_does_not_fit_is_noticed(void)
{
    store_rig_new(&rig, 100);
    for (uint32_t i = 1; i <= 90; i++)
        CU_ASSERT_NOT_EQUAL(store_rig_add(&rig, RECORD_DTLS12, i, i), 0);
    const store_slot one = store_rig_add(&rig, RECORD_DTLS12, 95, 7);
    const store_slot two = store_rig_add(&rig, RECORD_DTLS12, 96, 8);
    store_rig_reopen(&rig);
    CU_ASSERT_EQUAL(rig.found, STORE_RESUMED);
    store_head(rig.store, one)->principal = store_head(rig.store, two)->principal;
    store_rig_reopen(&rig);
    CU_ASSERT_EQUAL(rig.found, STORE_REBUILT);
    CU_ASSERT_EQUAL(store_count(rig.store), 92);
    rig.options.lock = true;
    store_head(rig.store, one)->principal = 1000;
    store_head(rig.store, two)->listener = 9;
    store_rig_reopen(&rig);
    CU_ASSERT_EQUAL(rig.found, STORE_REBUILT);
    CU_ASSERT_EQUAL(store_count(rig.store), 90); // an association whose principal is unknown is none
    CU_ASSERT_EQUAL(store_lost(rig.store), 2);
    store_rig_check(&rig);
    store_rig_free(&rig);
}

// --- killed at any moment ----------------------------------------------------------------------------------------

enum { KILL_MAX = 200, KILL_ROUNDS = 300, KILL_CREDENTIALS = 30 };

// What the child has told before it died: of each slot, which association has used which sequence number.
struct witness {
    _Atomic uint64_t id[2 * KILL_MAX + 1], used[2 * KILL_MAX + 1];
    _Atomic uint64_t operations;
};

static uint64_t *sequence_of(store_slot slot)
{
    return store_keys(rig.store, slot); // both kinds begin with it
}

static uint64_t *halves_of(store_slot slot) // newest and window
{
    return sequence_of(slot) + 1;
}

static void use_numbers(store_slot slot, struct witness *witness)
{
    if (witness->id[slot] != store_id(rig.store, slot)) {
        witness->used[slot] = 0;
        witness->id[slot] = store_id(rig.store, slot);
    }
    const uint64_t number = (*sequence_of(slot))++;
    atomic_signal_fence(memory_order_seq_cst);
    witness->used[slot] = number + 1;
    store_head(rig.store, slot)->busy = 1;
    atomic_signal_fence(memory_order_seq_cst);
    volatile uint64_t *halves = halves_of(slot);
    halves[0]++;
    halves[1]++;
    atomic_signal_fence(memory_order_seq_cst);
    store_head(rig.store, slot)->busy = 0;
}

static uint32_t end_or_not(void *context, store_slot slot, uint32_t now_s)
{
    (void)context;
    if (any(4) != 0)
        return now_s + any(2000);
    store_release(rig.store, slot);
    return 0;
}

static void operate(struct witness *witness)
{
    const uint32_t number = 1 + any(2 * KILL_MAX);
    const struct address peer = store_rig_peer(number);
    const struct address other = store_rig_peer(1 + any(2 * KILL_MAX));
    const uint32_t credential = 1 + any(KILL_CREDENTIALS);
    const store_slot slot = store_by_address(rig.store, 0, &peer);
    switch (any(8)) {
    case 0:
    case 1:
    case 2:
        (void)store_rig_add(&rig, any(2) == 0 ? RECORD_DTLS12 : RECORD_DTLS13, number, any(4) == 0 ? 0 : credential);
        break;
    case 3:
        store_release(rig.store, slot);
        break;
    case 4:
        (void)store_move(rig.store, slot, &other);
        break;
    case 5:
        (void)store_set_principal(rig.store, store_rig_name(credential), store_rig_principal(credential, any(3000)));
        break;
    case 6:
        store_look_at(rig.store, slot, any(20000));
        (void)store_run(rig.store, rig.store->header->wheel_s + any(40), any(20), end_or_not, NULL);
        break;
    default:
        if (slot != 0)
            use_numbers(slot, witness);
    }
    witness->operations++;
}

static void live_until_killed(struct witness *witness, uint64_t seed)
{
    random_state = seed;
    if (store_open(&rig.options, &rig.store, &rig.found) != SAGATE_OK)
        _exit(1);
    for (;;)
        operate(witness);
}

static void check_numbers(const struct witness *witness)
{
    uint64_t cursor = 0;
    store_slot slot;
    while ((slot = store_walk(rig.store, &cursor, &(size_t){SIZE_MAX})) != 0) {
        if (witness->id[slot] == store_id(rig.store, slot))
            CU_ASSERT(*sequence_of(slot) >= witness->used[slot]);
        CU_ASSERT_EQUAL(halves_of(slot)[0], halves_of(slot)[1]);
    }
}

static void nothing_is_lost_with_the_process(void)
{
    struct witness *witness = mmap(NULL, sizeof *witness, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_FATAL(witness != MAP_FAILED);
    store_rig_new(&rig, KILL_MAX);
    unsigned found[STORE_REFUSED + 1] = {0};
    for (unsigned round = 0; round < KILL_ROUNDS; round++) {
        const uint64_t before = witness->operations;
        store_close(rig.store);
        const pid_t child = fork();
        if (child == 0)
            live_until_killed(witness, round + 1);
        CU_ASSERT_FATAL(child > 0);
        random_state = clock_us();
        const uint32_t operations = 1 + any(2000);
        while (witness->operations - before < operations && kill(child, 0) == 0)
            (void)usleep(50 + any(50));
        CU_ASSERT_EQUAL(kill(child, SIGKILL), 0);
        int status = 0;
        CU_ASSERT_EQUAL_FATAL(waitpid(child, &status, 0), child);
        CU_ASSERT_FATAL(WIFSIGNALED(status));
        CU_ASSERT_EQUAL_FATAL(store_open(&rig.options, &rig.store, &rig.found), SAGATE_OK);
        found[rig.found]++;
        CU_ASSERT(store_lost(rig.store) <= 1);
        check_numbers(witness);
        store_rig_check(&rig);
    }
    printf(" (resumed %u, rebuilt %u) ", found[STORE_RESUMED], found[STORE_REBUILT]);
    CU_ASSERT_EQUAL(found[STORE_RESUMED] + found[STORE_REBUILT], KILL_ROUNDS);
    munmap(witness, sizeof *witness);
    store_rig_free(&rig);
}

// --- damaged -----------------------------------------------------------------------------------------------------

enum { DAMAGE_MAX = 120, DAMAGE_ROUNDS = 600 };

// Somewhere in what is in use: the header, the indexes, the principals or a slot.
static uint8_t *any_byte(const struct store *store)
{
    switch (any(8)) {
    case 0:
        return (uint8_t *)store->header + 48 + any(512); // behind what says whose it is
    case 1:
        return (uint8_t *)store->header + 48 + any(sizeof *store->header - 48);
    case 2:
        return (uint8_t *)store->by_address.entries +
               any((uint32_t)((uint8_t *)store->cids - (uint8_t *)store->by_address.entries));
    case 3:
        return (uint8_t *)store->principals + any(DAMAGE_MAX * sizeof *store->principals);
    case 4:
        return any(2) == 0 ? store->unit_state + any(2 * REGION_CHUNK)
                           : store->units + any(2 * REGION_CHUNK * REGION_UNIT);
    case 5:
        return (uint8_t *)store->cids + any(DAMAGE_MAX * 16);
    default: { // heads more than keys
        const unsigned arena = any(2);
        const uint32_t bytes = arena == 0 ? STORE_SLOT_DTLS12 : STORE_SLOT_DTLS13;
        return store->slots[arena] + any(DAMAGE_MAX) * bytes + any(any(2) == 0 ? sizeof(struct slot) : 48);
    }
    }
}

static void damage(struct store *store)
{
    for (uint32_t i = 1 + any(12); i > 0; i--) {
        uint8_t *at = any_byte(store);
        if (any(3) == 0) {
            *at ^= (uint8_t)(1U << any(8));
        } else if (any(2) == 0) {
            *at = (uint8_t)any(256);
        } else { // a whole number: a small one, or any
            const uint32_t number = any(any(2) == 0 ? 400 : UINT32_MAX);
            memcpy((uint8_t *)((uintptr_t)at & ~(uintptr_t)3), &number, sizeof number);
        }
    }
}

static uint32_t put_off(void *context, store_slot slot, uint32_t now_s)
{
    (void)slot;
    --*(unsigned *)context;
    return now_s + 10;
}

static void use_everything(struct store *store)
{
    uint64_t cursor = 0;
    store_slot slot;
    size_t budget = SIZE_MAX;
    unsigned bound = 100000;
    while ((slot = store_walk(store, &cursor, &budget)) != 0 && bound-- > 0) {
        struct address peer;
        store_peer(store, slot, &peer);
        (void)store_by_address(store, store_head(store, slot)->listener, &peer);
        (void)store_by_cid(store, store_rig_cid(&rig, slot));
        (void)store_by_id(store, store_id(store, slot));
        const struct slice packed = store_principal(store, slot);
        for (size_t i = 0; i < packed.len; i++)
            bound += packed.data[i] == 0xff && packed.len > STORE_PRINCIPAL_MAX; // reads all
        if (any(4) == 0)
            (void)store_move(store, slot, &(struct address){0});
        const struct address other = store_rig_peer(any(400));
        if (any(4) == 0)
            (void)store_move(store, slot, &other);
    }
    CU_ASSERT(bound > 0);
    for (uint32_t i = 0; i < 40; i++) {
        (void)store_set_principal(store, store_rig_name(i), store_rig_principal(i, any(1000)));
        (void)store_principal_count(store, store_rig_name(i), &slot);
        bound = 1000;
        for (slot = 0; (slot = store_next_of(store, store_rig_name(i), slot)) != 0 && bound > 0;)
            bound--;
        CU_ASSERT(bound > 0);
        (void)store_idle_longest(store, STORE_RIG_NOW, any(10));
    }
    bound = 10000;
    for (uint32_t now_s = STORE_RIG_NOW; now_s < STORE_RIG_NOW + 4000; now_s += 400) {
        while (bound > 0 && store_run(store, now_s, 50, put_off, &bound))
            bound--;
    }
    CU_ASSERT(bound > 0);
}

static void release_everything(struct store *store)
{
    for (uint32_t i = 0; i < 50; i++)
        (void)store_rig_add(&rig, any(2) == 0 ? RECORD_DTLS12 : RECORD_DTLS13, 1000 + i, any(300));
    for (store_slot slot = 1; slot <= 2 * DAMAGE_MAX; slot++)
        store_release(store, slot);
    for (uint32_t i = 0; i < DAMAGE_MAX; i++)
        (void)store_rig_add(&rig, any(2) == 0 ? RECORD_DTLS12 : RECORD_DTLS13, i, i);
}

static void damage_does_no_more_harm(void)
{
    unsigned found[STORE_REFUSED + 1] = {0};
    const size_t bytes = store_bytes(DAMAGE_MAX);
    uint8_t *image = malloc(bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(image);
    random_state = 11;
    store_rig_new(&rig, DAMAGE_MAX);
    for (uint32_t i = 1; i <= DAMAGE_MAX; i++)
        (void)store_rig_add(&rig, i % 2 == 0 ? RECORD_DTLS12 : RECORD_DTLS13, i, i % 40);
    for (uint32_t i = 1; i <= DAMAGE_MAX; i += 7)
        store_release(rig.store, i);
    memcpy(image, rig.store->base, bytes);
    for (unsigned round = 0; round < DAMAGE_ROUNDS; round++) {
        memcpy(rig.store->base, image, bytes);
        if (any(2) == 0)
            rig.store->header->changing |= 1;
        damage(rig.store);
        store_rig_reopen(&rig);
        found[rig.found]++;
        CU_ASSERT(store_count(rig.store) <= DAMAGE_MAX);
        use_everything(rig.store);
        if (any(2) == 0)
            damage(rig.store); // while it is open too
        use_everything(rig.store);
        release_everything(rig.store);
        // What a new process makes of it is in order again, if not all of it is there.
        reopen_rebuilt();
        CU_ASSERT(store_count(rig.store) <= DAMAGE_MAX);
    }
    CU_ASSERT(found[STORE_RESUMED] > 0 && found[STORE_REBUILT] > 0);
    free(image);
    store_rig_free(&rig);
}

static double cpu_ms(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec * 1e3 + (double)used.tv_nsec / 1e6;
}

// --- what it costs -----------------------------------------------------------------------------------------------

// Bytes of an association with a principal of its own in a full store, by what the kernel says is in use.
static void bytes_of_an_association(void)
{
    const char *text = getenv("SAGATE_STORE_SLOTS");
    const uint32_t max = text == NULL ? 20000 : (uint32_t)strtoul(text, NULL, 10);
    struct stat status;
    store_rig_new(&rig, max);
    for (uint32_t i = 1; i <= max; i++)
        CU_ASSERT_NOT_EQUAL_FATAL(store_rig_add(&rig, RECORD_DTLS12, i, i), 0);
    CU_ASSERT_EQUAL_FATAL(fstat(rig.options.fd, &status), 0);
    const double bytes = (double)status.st_blocks * 512 / max;
    double start_ms = cpu_ms();
    store_rig_reopen(&rig);
    const double resumed_ms = cpu_ms() - start_ms;
    CU_ASSERT_EQUAL(rig.found, STORE_RESUMED);
    rig.store->header->changing |= 1;
    start_ms = cpu_ms();
    store_rig_reopen(&rig);
    const double rebuilt_ms = cpu_ms() - start_ms;
    CU_ASSERT_EQUAL(rig.found, STORE_REBUILT);
    CU_ASSERT_EQUAL(store_count(rig.store), max);
    CU_ASSERT_EQUAL(store_lost(rig.store), 0);
    printf(" (%u: %.1f bytes each; resumed in %.1f ms, rebuilt in %.1f ms of CPU) ", max, bytes, resumed_ms,
           rebuilt_ms);
    CU_ASSERT(bytes <= 256 + 16 + 16 + 128 + 24 + 16384.0 / max);
    store_rig_free(&rig);
}

static const struct unit_test tests[] = {
    {"is made anew from the slots", is_made_anew_from_the_slots},
    {"an interrupted move is undone", an_interrupted_move_is_undone},
    {"what does not fit is noticed", what_does_not_fit_is_noticed},
    {"nothing is lost with the process", nothing_is_lost_with_the_process},
    {"damage does no more harm", damage_does_no_more_harm},
    {"bytes of an association", bytes_of_an_association},
};

UNIT_MAIN("store survival", tests)
