/* Blocks of fibers: who runs next, who waits for whom. A barrier or a warp function
 * that not all of its threads reach, or a thread that never waits for the kernels
 * before, ends the program with a message. */
#include "grid.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "fiber.h"

namespace emulation {

enum State { RUNNING, IN_WARP, IN_BLOCK, HELD, DONE };

/* A meeting of a warp's lanes; it is free again when all who came have left. */
struct Meeting {
  unsigned mask = 0, arrived = 0, unread = 0;
  bool complete = false;
  unsigned char values[32][16];
};

struct Thread;

struct Warp {
  unsigned alive = 0;
  unsigned running = 0; /* by the threads' rank in the shuffled order */
  Thread *by_rank[32];
  unsigned met = 0; /* which of the meetings somebody is in */
  Meeting meetings[16];
};

struct BlockRun;

struct Copy {
  void *to;
  const void *from;
  bool there;
};

struct Thread {
  Fiber fiber = {};
  uint3 index;
  unsigned lane, warp, rank;
  State state;
  bool waited;      /* for the kernels before */
  Meeting *meeting; /* that it is in, or whose values it may still read */
  BlockRun *run;
  std::vector<Copy> copies;   /* that are to be made, in order */
  std::vector<size_t> groups; /* their ends among the copies */
};

struct BlockRun {
  Block block;
  const Launch *launch;
  size_t number;               /* of the launch's blocks */
  std::vector<Thread> threads; /* `size` of them, and more stacks for later */
  std::vector<Warp> warps;
  unsigned size, alive, waiting;
  bool early;                            /* kernels before are not complete */
  std::map<const void *, void *> shared; /* arrays by their declaration */
  void *dynamic = nullptr;

  void begin(const Launch &l, size_t which, uint32_t seed);
  void run(uint32_t seed);
  void finish(uint32_t seed);
  void end();
};

Thread *self;
static std::vector<std::unique_ptr<BlockRun>> idle; /* kept for their stacks */

const uint3 &
thread_index()
{
  return self->index;
}
const Block &
block()
{
  return self->run->block;
}
unsigned
lane()
{
  return self->lane;
}

void
die(const char *what)
{
  fprintf(stderr, "emulation of CUDA: kernel %s: %s\n",
      self ? self->run->launch->name : "?", what);
  abort();
}

static void
set_running(Thread *t)
{
  t->state = RUNNING;
  t->run->warps[t->warp].running |= 1u << t->rank;
}

/* The next after a rank in turn; there is one. */
static Thread *
next_running(const Warp &w, unsigned rank)
{
  const unsigned later = rank < 31 ? w.running & ~0u << (rank + 1) : 0;
  return w.by_rank[__builtin_ctz(later ? later : w.running)];
}

/* A warp goes on by itself as long as one of its threads can. */
static void
wait_as(State state)
{
  Thread *me = self;
  Warp &w = me->run->warps[me->warp];
  me->state = state;
  w.running &= ~(1u << me->rank);
  if (!w.running) {
    fiber_leave(&me->fiber, false);
    return;
  }
  self = next_running(w, me->rank);
  fiber_switch(&me->fiber, &self->fiber);
}

/* --------------------------------------------------------------- meetings */

static void
leave_meeting(Thread *t)
{
  Meeting *m = t->meeting;
  t->meeting = nullptr;
  if (!m)
    return;
  m->unread &= ~(1u << t->lane);
  if (m->unread)
    return;
  Warp &w = t->run->warps[t->warp];
  m->arrived = 0;
  w.met &= ~(1u << (m - w.meetings));
}

/* Threads that have ended are not waited for. */
static bool
try_complete(BlockRun *run, unsigned warp, Meeting *m)
{
  const Warp &w = run->warps[warp];
  if (m->complete || !m->arrived || (m->mask & w.alive & ~m->arrived))
    return false;
  m->complete = true;
  m->unread = m->arrived;
  for (unsigned lane = 0; lane < 32; lane++) {
    if (!(m->arrived >> lane & 1)) {
      memset(m->values[lane], 0xff, sizeof m->values[lane]);
      continue;
    }
    Thread &t = run->threads[warp * 32 + lane];
    if (t.state == IN_WARP)
      set_running(&t);
  }
  return true;
}

static Meeting *
find_meeting(Warp &w, unsigned mask)
{
  for (unsigned met = w.met; met; met &= met - 1) {
    Meeting &m = w.meetings[__builtin_ctz(met)];
    if (!m.complete && m.mask == mask)
      return &m;
  }
  const int free = __builtin_ctz(~w.met);
  if (free >= 16)
    die("too many masks in one warp");
  w.met |= 1u << free;
  w.meetings[free].complete = false;
  return &w.meetings[free];
}

const unsigned char *
warp_gather(unsigned mask, const void *value, size_t bytes)
{
  Thread *me = self;
  Warp &w = me->run->warps[me->warp];
  if (!(mask >> me->lane & 1))
    die("a lane calls a warp function with a mask that does not name it");
  leave_meeting(me);
  Meeting *m = find_meeting(w, mask);
  m->mask = mask;
  m->arrived |= 1u << me->lane;
  memcpy(m->values[me->lane], value, bytes);
  me->meeting = m;
  if (!try_complete(me->run, me->warp, m))
    wait_as(IN_WARP);
  return m->values[0];
}

void
warp_barrier(unsigned mask)
{
  const char nothing = 0;
  warp_gather(mask, &nothing, 1);
}

/* --------------------------------------------------------------- barriers */

static void
release(BlockRun *run, State state)
{
  for (unsigned i = 0; i < run->size; i++)
    if (run->threads[i].state == state)
      set_running(&run->threads[i]);
}

static bool
try_release_block(BlockRun *run)
{
  if (!run->waiting || run->waiting < run->alive)
    return false;
  run->waiting = 0;
  release(run, IN_BLOCK);
  return true;
}

void
block_barrier()
{
  self->run->waiting++;
  if (!try_release_block(self->run))
    wait_as(IN_BLOCK);
}

void
grid_wait()
{
  self->waited = true;
  if (self->run->early)
    wait_as(HELD);
}

/* ----------------------------------------------------------------- memory */

static void *
poisoned(size_t bytes)
{
  void *p;
  if (posix_memalign(&p, 128, bytes ? bytes : 1))
    die("no memory for shared memory");
  memset(p, 0xff, bytes); /* NaNs: a read before a write shows */
  return p;
}

void *
shared(const void *key, size_t bytes)
{
  void *&p = self->run->shared[key];
  if (!p)
    p = poisoned(bytes);
  return p;
}

void *
dynamic_shared()
{
  BlockRun *run = self->run;
  if (!run->dynamic)
    run->dynamic = poisoned(run->launch->shared_bytes);
  return run->dynamic;
}

void
prefetch(const void *p, size_t bytes)
{
  if (reinterpret_cast<uintptr_t>(p) % 16 || bytes % 16)
    die("a prefetch that is not of whole 16 bytes");
  const volatile char *at = static_cast<const volatile char *>(p);
  if (bytes)
    (void)at[0], (void)at[bytes - 1]; /* for AddressSanitizer */
}

void
copy_async(void *to, const void *from, bool there)
{
  self->copies.push_back({to, from, there});
}

void
copies_commit()
{
  self->groups.push_back(self->copies.size());
}

void
copies_wait(size_t late)
{
  std::vector<size_t> &groups = self->groups;
  if (groups.size() <= late)
    return;
  const size_t n = groups.size() - late, end = groups[n - 1];
  for (size_t i = 0; i < end; i++) {
    const Copy &copy = self->copies[i];
    if (copy.there)
      memcpy(copy.to, copy.from, 16);
    else
      memset(copy.to, 0, 16);
  }
  self->copies.erase(self->copies.begin(), self->copies.begin() + end);
  groups.erase(groups.begin(), groups.begin() + n);
  for (size_t &group : groups)
    group -= end;
}

/* ---------------------------------------------------------------- running */

static void
thread_entry()
{
  fiber_entered();
  Thread *me = self;
  me->run->launch->body();
  if (!me->waited)
    die("a thread ends without moshi_grid_wait()");
  if (!me->copies.empty())
    die("a thread ends before its copies are made");
  me->groups.clear();
  me->state = DONE;
  me->run->warps[me->warp].running &= ~(1u << me->rank);
  fiber_leave(&me->fiber, true);
}

static void
shuffle(unsigned ranks[32], uint32_t seed)
{
  for (unsigned i = 0; i < 32; i++)
    ranks[i] = i;
  for (unsigned i = 32; seed && i > 1; i--) {
    seed = seed * 1664525u + 1013904223u;
    std::swap(ranks[i - 1], ranks[uint64_t(seed) * i >> 32]);
  }
}

void
BlockRun::begin(const Launch &l, size_t which, uint32_t seed)
{
  const unsigned n = l.block.x * l.block.y * l.block.z;
  unsigned ranks[32];
  shuffle(ranks, seed);
  launch = &l;
  number = which;
  block = {dim3(number % l.grid.x, number / l.grid.x % l.grid.y,
               number / l.grid.x / l.grid.y),
      l.block, l.grid};
  if (threads.size() < n)
    threads.resize(n);
  warps.resize((n + 31) / 32);
  for (Warp &w : warps) {
    w.alive = w.met = w.running = 0;
    for (Meeting &m : w.meetings)
      m.arrived = 0;
  }
  size = alive = n;
  waiting = 0;
  for (unsigned i = 0; i < n; i++) {
    Thread &t = threads[i];
    t.index = {i % l.block.x, i / l.block.x % l.block.y, i / l.block.x / l.block.y};
    t.lane = i % 32;
    t.warp = i / 32;
    t.rank = ranks[i % 32];
    t.waited = false;
    t.meeting = nullptr;
    t.run = this;
    warps[i / 32].alive |= 1u << i % 32;
    warps[i / 32].by_rank[t.rank] = &t;
    set_running(&t);
    fiber_start(&t.fiber, thread_entry);
  }
}

void
BlockRun::end()
{
  for (auto &entry : shared)
    free(entry.second);
  shared.clear();
  free(dynamic);
  dynamic = nullptr;
}

static void
thread_done(BlockRun *run, Thread *t)
{
  leave_meeting(t);
  run->alive--;
  run->warps[t->warp].alive &= ~(1u << t->lane);
  for (unsigned met = run->warps[t->warp].met; met; met &= met - 1)
    try_complete(run, t->warp, &run->warps[t->warp].meetings[__builtin_ctz(met)]);
  try_release_block(run);
}

/* Every warp as far as it gets. */
void
BlockRun::run(uint32_t seed)
{
  for (bool progress = true; progress;) {
    progress = false;
    for (size_t i = 0; i < warps.size(); i++) {
      Warp &w = warps[seed % 2 ? warps.size() - 1 - i : i];
      while (w.running) {
        progress = true;
        self = next_running(w, 31);
        fiber_resume(&self->fiber);
        if (self->state == DONE)
          thread_done(this, self);
      }
    }
  }
}

/* The kernels before are complete. */
void
BlockRun::finish(uint32_t seed)
{
  early = false;
  release(this, HELD);
  run(seed);
  if (alive)
    die("a barrier or a warp function is not reached by all of its threads");
  end();
  self = nullptr;
}

static std::unique_ptr<BlockRun>
take_idle()
{
  if (idle.empty())
    return std::make_unique<BlockRun>();
  std::unique_ptr<BlockRun> run = std::move(idle.back());
  idle.pop_back();
  return run;
}

Grid::Grid(const Launch &launch, uint32_t seed) : launch(launch), seed(seed)
{
}

Grid::~Grid()
{
  if (!early)
    return;
  early->end();
  idle.push_back(std::move(early));
}

/* Every time another one. */
void
Grid::begin()
{
  static uint32_t turn;
  if (early)
    return;
  early = take_idle();
  early->early = true;
  early->begin(launch, turn++ % blocks(), seed);
  early->run(seed);
  self = nullptr;
}

size_t
Grid::blocks() const
{
  return size_t(launch.grid.x) * launch.grid.y * launch.grid.z;
}

void
Grid::run()
{
  std::unique_ptr<BlockRun> other = take_idle();
  for (size_t number = 0; number < blocks(); number++) {
    if (early && early->number == number) {
      early->finish(seed);
      continue;
    }
    other->begin(launch, number, seed);
    other->finish(seed);
  }
  idle.push_back(std::move(other));
}

} // namespace emulation
