// Runs a kernel on the host: one block after another, the threads of a block as fibers that change places at barriers.
//
// A thread that never meets a barrier is little more than a call: the next one takes over its stack. One that waits
// keeps its stack, and the next gets another. What no GPU could do right ends the launch with a message.

#include "runtime.hpp"

#include <sys/mman.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

// ucontext serves on any processor, at the price of two calls of the system for each change.
#if defined(__x86_64__) && !defined(TWIN_UCONTEXT)
#define TWIN_SWITCH

// Pushes what a call has to leave unchanged, keeps the stack pointer, and goes on with another stack.
extern "C" void twin_switch(void** keep, void* other);
asm(R"(
.text
.globl twin_switch
.type twin_switch, @function
twin_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size twin_switch, .-twin_switch
)");
#else
#include <ucontext.h>
#endif

Dim threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr size_t STACK = 256 * 1024, PAGE = 4096;
constexpr unsigned LANES = 32;

struct Context {
#ifdef TWIN_SWITCH
    void* top = nullptr;
#else
    ucontext_t u;
#endif
};

enum State { NEW, READY, WAITING, DONE };

struct Warp {
    unsigned arrived = 0, lanes = 0, mask = 0, epoch = 0;
    int site = 0, line = 0;
    unsigned took_part[2] = {0, 0};
    unsigned long long slots[2][LANES];
};

struct Thread {
    State state = NEW;
    Context context;
    char* stack = nullptr;
    Dim index;
};

std::vector<Thread> threads;
std::vector<Warp> warps;
std::vector<char*> stacks;  // free ones
Context scheduler;
unsigned current, at_barrier, barrier_epoch;
int barrier_site, barrier_line;
int votes[2][2];  // of the barrier that is being reached, and of the last one: how many, and how many said yes
bool failed, backwards;
char message[512];
twin_entry entry;
void* entry_argument;

char* new_stack() {
    if (!stacks.empty()) {
        char* stack = stacks.back();
        stacks.pop_back();
        return stack;
    }
    void* memory = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    mprotect(memory, PAGE, PROT_NONE);  // a stack that overflows is found out
    return (char*)memory;
}

void change(Context& from, Context& to) {
#ifdef TWIN_SWITCH
    twin_switch(&from.top, to.top);
#else
    swapcontext(&from.u, &to.u);
#endif
}

void body() {
    entry(entry_argument);
    threads[current].state = DONE;
    change(threads[current].context, scheduler);
    __builtin_trap();
}

void prepare(Thread& thread) {
#ifdef TWIN_SWITCH
    void** top = (void**)(thread.stack + STACK);
    *--top = nullptr;  // the stack of a function that was called: 8 bytes off a multiple of 16
    *--top = (void*)body;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    thread.context.top = top;
#else
    getcontext(&thread.context.u);
    thread.context.u.uc_stack.ss_sp = thread.stack;
    thread.context.u.uc_stack.ss_size = STACK;
    thread.context.u.uc_link = nullptr;
    makecontext(&thread.context.u, body, 0);
#endif
}

template <typename... A>
[[noreturn]] void stop(A... what) {
    twin_fail(what...);
    twin_stop();
}

void wait() {
    threads[current].state = WAITING;
    unsigned me = current;
    change(threads[me].context, scheduler);
}

void run_block(unsigned count) {
    at_barrier = 0;
    votes[0][0] = votes[0][1] = votes[1][0] = votes[1][1] = 0;
    for (unsigned w = 0; w < warps.size(); w++) {
        unsigned lanes = count - w * LANES < LANES ? count - w * LANES : LANES;
        warps[w].lanes = lanes == LANES ? ~0u : (1u << lanes) - 1;
        warps[w].arrived = 0;
    }
    char* spare = nullptr;
    unsigned done = 0;
    while (done < count) {
        bool moved = false;
        backwards = !backwards;  // nothing may depend on the order, in which a GPU runs them as it likes
        for (unsigned i = 0; i < count && !failed; i++) {
            unsigned t = backwards ? count - 1 - i : i;
            Thread& thread = threads[t];
            if (thread.state == DONE || thread.state == WAITING) continue;
            if (thread.state == NEW) {
                thread.stack = spare ? spare : new_stack();
                spare = nullptr;
                if (!thread.stack) {
                    twin_fail("no memory for the stacks of the threads of a block");
                    return;
                }
                prepare(thread);
            }
            current = t;
            threadIdx = thread.index;
            thread.state = READY;
            change(scheduler, thread.context);
            moved = true;
            if (thread.state == DONE) {
                done++;
                if (spare) stacks.push_back(spare);
                spare = thread.stack;
                thread.stack = nullptr;
            }
        }
        if (failed) break;
        if (!moved && done < count) {
            if (at_barrier)
                twin_fail("line %d: %u of %u threads of block (%u, %u, %u) reached a barrier of the block; "
                          "all of them have to",
                          barrier_line, at_barrier, count, blockIdx.x, blockIdx.y, blockIdx.z);
            for (auto& warp : warps)
                if (warp.arrived && !failed)
                    twin_fail("line %d: the threads 0x%08x of a warp reached a warp function, which waits for 0x%08x",
                              warp.line, warp.arrived, warp.mask);
            break;
        }
    }
    if (spare) stacks.push_back(spare);
    for (auto& thread : threads) {
        if (thread.stack) stacks.push_back(thread.stack);
        thread.stack = nullptr;
    }
}

}  // namespace

extern "C" void twin_fail(const char* format, ...) {
    va_list list;
    va_start(list, format);
    if (!failed) vsnprintf(message, sizeof message, format, list);
    va_end(list);
    failed = true;
}

// From within a thread, which is left where it stands.
extern "C" void twin_stop() {
    change(threads[current].context, scheduler);
    __builtin_trap();
}

extern "C" int twin_barrier(int site, int line, int vote) {
    if (at_barrier && site != barrier_site)
        stop("lines %d and %d: threads of a block wait at two barriers", barrier_line, line);
    unsigned epoch = barrier_epoch, count = (unsigned)threads.size();
    barrier_site = site;
    barrier_line = line;
    votes[epoch & 1][vote ? 1 : 0]++;
    if (++at_barrier == count) {
        at_barrier = 0;
        barrier_epoch++;
        votes[barrier_epoch & 1][0] = votes[barrier_epoch & 1][1] = 0;
        for (auto& thread : threads)
            if (thread.state == WAITING) thread.state = READY;
    } else {
        wait();
    }
    return votes[epoch & 1][1];
}

extern "C" void twin_warp(int site, int line, unsigned mask, unsigned long long value, twin_exchange* out) {
    unsigned lane = current % LANES, me = 1u << lane;
    Warp& warp = warps[current / LANES];
    if (!(mask & me)) stop("line %d: lane %u calls a warp function whose mask 0x%08x lacks it", line, lane, mask);
    if (warp.arrived && (warp.site != site || warp.mask != mask))
        stop("lines %d and %d: threads of a warp wait in two warp functions, or for different masks", warp.line,
                   line);
    unsigned epoch = warp.epoch;
    warp.site = site;
    warp.line = line;
    warp.mask = mask;
    warp.slots[epoch & 1][lane] = value;
    warp.arrived |= me;
    if (warp.arrived == (mask & warp.lanes)) {
        warp.took_part[epoch & 1] = warp.arrived;
        unsigned first = current - lane;
        for (unsigned k = 0; k < LANES; k++)
            if (warp.arrived >> k & 1 && threads[first + k].state == WAITING) threads[first + k].state = READY;
        warp.arrived = 0;
        warp.epoch++;
    } else {
        wait();
    }
    out->took_part = warp.took_part[epoch & 1];
    out->lane = lane;
    out->values = warp.slots[epoch & 1];
}

extern "C" int twin_run(twin_entry f, void* argument, const unsigned* dims, void* shared, size_t shared_size,
                        int flush, int reverse) {
    entry = f;
    backwards = !reverse;
    entry_argument = argument;
    gridDim = {dims[0], dims[1], dims[2]};
    blockDim = {dims[3], dims[4], dims[5]};
    unsigned count = blockDim.x * blockDim.y * blockDim.z;
    threads.assign(count, Thread());
    warps.resize((count + LANES - 1) / LANES);
    failed = false;
#if defined(__x86_64__)
    unsigned csr = _mm_getcsr();
    if (flush) _mm_setcsr(csr | 0x8040);  // numbers below the normal ones are 0
#endif
    for (unsigned z = 0; z < gridDim.z && !failed; z++)
        for (unsigned y = 0; y < gridDim.y && !failed; y++)
            for (unsigned x = 0; x < gridDim.x && !failed; x++) {
                blockIdx = {x, y, z};
                if (reverse) blockIdx = {gridDim.x - 1 - x, gridDim.y - 1 - y, gridDim.z - 1 - z};
                memset(shared, 0xff, shared_size);  // NaN, or -1
                for (unsigned t = 0; t < count; t++) {
                    threads[t].state = NEW;
                    threads[t].index = {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
                }
                run_block(count);
            }
#if defined(__x86_64__)
    _mm_setcsr(csr);
#endif
    return failed;
}

extern "C" const char* twin_message() { return message; }
