// A pool of threads in which nobody waits for a thread that has not begun.
//
// XLA runs other operations beside a call, on the same cores. OpenMP divides a loop among threads beforehand and then waits
// for all of them: where a core is taken, a part of a millisecond's work waits for a slice of the scheduler's time. Here who
// is free takes the next part, and the caller, when it has done its own, takes the parts that nobody has begun.
//
// oneDNN is built for GCC's OpenMP. The functions at the end are those of it that it calls; it is loaded below this library,
// where their names are found first.

#include "team.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>

namespace phlox {
namespace {

constexpr int kSpins = 2000;  // looks at a thread that has begun before the caller goes to sleep: some microseconds

struct Job {
  Member task;
  void* data;
  int count;
  int next = 1;                // the caller begins with 0
  std::atomic<int> left;       // parts that are not done
  std::atomic<int> arrived{0};  // at the barrier
  std::atomic<int> passed{0};   // barriers

  Job(Member task, void* data, int count) : task(task), data(data), count(count), left(count) {}
};

struct Helper {
  pid_t id = 0;
  int processor = -1;  // where it fell asleep
};

struct Self {
  Job* job = nullptr;
  int member = 0;
  int limit = 0;  // 0: the team's size
};

thread_local Self self;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Team {
 public:
  // Offers the parts behind the first to the others. One job at a time: whose parts wait for each other needs all of them.
  void offer(Job* job) {
    turn_.lock();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const size_t wanted = std::min(job->count, team_size()) - 1;
      while (helpers_.size() < wanted) std::thread([this, me = &helpers_.emplace_back()] { help(me); }).detach();
      clear_my_processor();
      job_ = job;
    }
    wake_.notify_all();
  }

  // Does the parts that nobody has begun, and waits for those that somebody has.
  void finish(Job* job) {
    job->left.fetch_sub(1);  // the first part, which the caller has done
    for (int part; (part = claim(job)) > 0;) run(job, part);
    for (int i = 0; i < kSpins && job->left.load(std::memory_order_acquire) > 0; ++i) relax();
    std::unique_lock<std::mutex> lock(mutex_);
    job_ = nullptr;
    done_.wait(lock, [&] { return job->left.load() == 0; });
    turn_.unlock();
  }

 private:
  int claim(Job* job) {
    std::lock_guard<std::mutex> lock(mutex_);
    return job->next < job->count ? job->next++ : 0;
  }

  void run(Job* job, int part) {
    const Self before = self;
    self = {job, part, before.limit};
    job->task(part, job->data);
    self = before;
    job->left.fetch_sub(1, std::memory_order_acq_rel);  // from here on the job may be gone
  }

  // Sends helpers that fell asleep on the caller's processor to others: the system wakes a thread where it slept, and may
  // look for a better place only at its next tick, milliseconds later.
  void clear_my_processor() {
    const int here = sched_getcpu();
    for (const Helper& helper : helpers_) {
      if (helper.processor != here) continue;
      cpu_set_t others;
      if (sched_getaffinity(0, sizeof others, &others) != 0) return;
      CPU_CLR(here, &others);
      if (CPU_COUNT(&others) > 0) sched_setaffinity(helper.id, sizeof others, &others);
    }
  }

  [[noreturn]] void help(Helper* me) {
    me->id = static_cast<pid_t>(syscall(SYS_gettid));
    for (;;) {
      Job* job;
      int part;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        me->processor = sched_getcpu();
        wake_.wait(lock, [&] { return job_ != nullptr && job_->next < job_->count; });
        job = job_, part = job->next++;
      }
      run(job, part);
      std::lock_guard<std::mutex> lock(mutex_);
      done_.notify_all();
    }
  }

  std::mutex turn_, mutex_;
  std::condition_variable wake_, done_;
  Job* job_ = nullptr;
  std::deque<Helper> helpers_;
};

Team& current() {
  static Team* team = new Team;  // never destroyed: its threads live as long as the process
  return *team;
}

int processors() {
  if (const char* asked = std::getenv("OMP_NUM_THREADS")) {
    const int count = std::atoi(asked);
    if (count > 0) return count;
  }
  cpu_set_t set;
  const int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(count, 1);
}

}  // namespace

int team_size() {
  static const int size = processors();
  return size;
}

int team_limit() { return self.limit > 0 ? self.limit : team_size(); }

void limit_team(int count) { self.limit = std::max(count, 1); }

void together(int count, Member task, void* data) {
  const Self before = self;
  if (count <= 1 || before.job != nullptr) {
    for (int part = 0; part < count; ++part) task(part, data);
    return;
  }
  Job job(task, data, count);
  current().offer(&job);
  self = {&job, 0, before.limit};
  task(0, data);
  self = before;
  current().finish(&job);
}

namespace {

// A region of oneDNN's: the caller runs the first part itself, between start and end.
struct Region {
  void (*body)(void*);
  void* data;
  Self before;
  Job job;

  Region(void (*body)(void*), void* data, int count) : body(body), data(data), before(self), job(&part, this, count) {}

  static void part(int, void* region) {
    const auto* self = static_cast<Region*>(region);
    self->body(self->data);
  }
};

thread_local Region* region = nullptr;
thread_local int alone = 0;  // open regions of one thread, as all within another region are

// A loop whose steps are dealt out in pieces: to each in turn, or a single one to each.
struct Loop {
  long start, step, count, piece, round;
};

thread_local Loop loop;

int members() { return self.job == nullptr || alone > 0 ? 1 : self.job->count; }
int member() { return alone > 0 ? 0 : self.member; }

bool next_piece(long* first, long* last) {
  const long all = members(), me = member();
  long from, to;
  if (loop.piece > 0) {
    from = (loop.round * all + me) * loop.piece;
    to = std::min(from + loop.piece, loop.count);
  } else {
    if (loop.round > 0) return false;
    const long each = loop.count / all, more = loop.count % all;
    from = me * each + std::min(me, more);
    to = from + each + (me < more ? 1 : 0);
  }
  if (from >= to) return false;
  ++loop.round;
  *first = loop.start + from * loop.step;
  *last = loop.start + to * loop.step;
  return true;
}

}  // namespace
}  // namespace phlox

#define OPENMP extern "C" __attribute__((visibility("default")))

OPENMP int omp_get_max_threads() { return phlox::team_limit(); }
OPENMP int omp_get_num_threads() { return phlox::members(); }
OPENMP int omp_get_thread_num() { return phlox::member(); }
OPENMP int omp_in_parallel() { return phlox::self.job != nullptr; }

OPENMP void GOMP_parallel_start(void (*body)(void*), void* data, unsigned asked) {
  using namespace phlox;
  const int count = asked == 0 ? team_limit() : static_cast<int>(asked);
  if (count <= 1 || self.job != nullptr || alone > 0) {
    ++alone;
    return;
  }
  region = new Region(body, data, count);
  current().offer(&region->job);
  self = {&region->job, 0, region->before.limit};
}

OPENMP void GOMP_parallel_end() {
  using namespace phlox;
  if (alone > 0) {
    --alone;
    return;
  }
  self = region->before;
  current().finish(&region->job);
  delete region;
  region = nullptr;
}

OPENMP void GOMP_barrier() {
  using namespace phlox;
  if (members() == 1) return;
  Job* job = self.job;
  const int before = job->passed.load();
  if (job->arrived.fetch_add(1) + 1 == job->count) {
    job->arrived = 0;
    job->passed.fetch_add(1);
    return;
  }
  for (int i = 0; job->passed.load() == before; ++i) i < kSpins ? relax() : static_cast<void>(sched_yield());
}

OPENMP bool GOMP_loop_static_start(long start, long end, long step, long piece, long* first, long* last) {
  phlox::loop = {start, step, std::max(0L, (end - start + step - (step > 0 ? 1 : -1)) / step), piece, 0};
  return phlox::next_piece(first, last);
}

OPENMP bool GOMP_loop_static_next(long* first, long* last) { return phlox::next_piece(first, last); }
OPENMP void GOMP_loop_end_nowait() {}
