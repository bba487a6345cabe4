// What a .cu source of minires needs in order to run on the CPU: compiled in front of it, by the stand-in for CuPy.
//
// The threads of a block are fibers that run one after the other, each up to its next __syncthreads(); blocks run one
// after the other, so that shared memory can be a static array.
#include <cmath>
#include <csetjmp>
#include <deque>
#include <functional>
#include <memory>
#include <ucontext.h>
#include <utility>

#define __global__
#define __device__ static
#define __shared__ static
using std::max;
using std::min;

struct Dimensions {
    unsigned x, y, z;
};
static Dimensions gridDim, blockDim, blockIdx, threadIdx;

namespace on_cpu {

const int STACK = 1 << 16;

struct Fiber {
    jmp_buf place;  // where it waits: to jump there takes nanoseconds, and no system call as swapcontext does
    std::unique_ptr<char[]> stack;
    bool done;
};

static jmp_buf scheduler;
static std::deque<Fiber> fibers;
static Fiber* running;
static std::function<void()> body;

static void wait()
{
    if (!_setjmp(running->place)) _longjmp(scheduler, 1);
}

static void live()  // a fiber is one thread of each block, for ever
{
    while (true) {
        body();
        running->done = true;
        wait();
    }
}

static void start(Fiber& fiber)
{
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber.stack.get();
    context.uc_stack.ss_size = STACK;
    makecontext(&context, live, 0);
    setcontext(&context);
}

static void resume(Fiber& fiber)
{
    running = &fiber;
    if (_setjmp(scheduler)) return;
    if (fiber.stack) _longjmp(fiber.place, 1);
    fiber.stack.reset(new char[STACK]);
    start(fiber);
}

// Whether all threads of the block met the same barriers.
static bool run_fibers()
{
    if (fibers.size() < blockDim.x) fibers.resize(blockDim.x);
    for (unsigned t = 0; t < blockDim.x; t++) fibers[t].done = false;
    while (true) {
        unsigned done = 0;
        for (unsigned t = 0; t < blockDim.x; t++) {
            threadIdx.x = t;
            resume(fibers[t]);
            done += fibers[t].done;
        }
        if (done == blockDim.x) return true;
        if (done > 0) return false;
    }
}

static void run_plainly()
{
    for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++) body();
}

template <class... Arguments, std::size_t... I>
void call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<I...>)
{
    kernel(*(Arguments*)arguments[I]...);
}

template <class... Arguments>
int launch(void (*kernel)(Arguments...), Dimensions grid, unsigned threads, bool barriers, void** arguments)
{
    gridDim = grid;
    blockDim = {threads, 1, 1};
    threadIdx = {0, 0, 0};
    body = [=] { call(kernel, arguments, std::index_sequence_for<Arguments...>()); };
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
                if (!barriers)
                    run_plainly();
                else if (!run_fibers())
                    return 1;
            }
    return 0;
}

}  // namespace on_cpu

static void __syncthreads() { on_cpu::wait(); }
